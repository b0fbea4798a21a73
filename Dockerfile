# One image with all that hccflow needs, from the same lock as every other way. NOT built or run where the project is tested:
# no container engine is available there. docs/conda.md says how to use it.
FROM python:3.11-slim-bookworm

# gcc builds PyRadiomics, git is asked by DVC; slim images have neither.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc g++ git make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/hccflow
COPY requirements.lock envs/models.post-deploy.sh ./
RUN python -m pip install --no-cache-dir --no-deps -r requirements.lock \
    && bash models.post-deploy.sh \
    && python -m pip check

# The library, so that `hccflow` works by hand; in a study's checkout its own workflow/ comes first (PYTHONPATH).
COPY pyproject.toml README.md LICENSE ./
COPY workflow workflow
RUN python -m pip install --no-cache-dir --no-build-isolation --no-deps --editable .

WORKDIR /study
CMD ["hccflow", "--help"]
