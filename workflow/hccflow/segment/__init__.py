"""Where is the tumour, and how sure: nnU-Net masks that no patient's own network has made, or imported masks."""
