# What a job asks of the machine: how much for the work itself, how much more when it is tried again.
import math
import shutil


def memory(base, each=0, more=lambda wildcards: 0):
    """Megabytes of a job: `base`, `each` for every thread (a worker process) and `more`; doubled at each further attempt."""
    return lambda wildcards, threads, attempt: (base + each * threads + more(wildcards)) * 2 ** (attempt - 1)


def crops_in_memory(wildcards, cohorts):
    """Megabytes that a network's crops of all cases of the cohorts need, 0 of a model without a network.

    Four times their size: 3.4 times were measured to train, 3.2 (two channels) to 3.5 (five) to score.
    """
    network = entry(wildcards).get("network")
    if not network:
        return 0
    size = STUDY.config["crops"][network["crop"]]["size"]
    cases = sum(len(STUDY.cohorts[name].participants) for name in cohorts)
    volumes = len(STUDY.config["imaging"]["channels"]) + 1  # the mask too
    return math.ceil(4 * cases * volumes * math.prod(size) * 4 / 1e6)


def development_crops_in_memory(wildcards):
    """Megabytes of the crops that may teach."""
    return crops_in_memory(wildcards, DEVELOPMENT)


def cohort_crops_in_memory(wildcards):
    """Megabytes of the crops of one cohort."""
    return crops_in_memory(wildcards, [wildcards.cohort])


def runtime(minutes):
    """Minutes of a job, doubled at each further attempt."""
    return lambda wildcards, attempt: minutes * 2 ** (attempt - 1)


def gpus(device=SEGMENT.get("device")):
    """GPUs of a job: one where the study demands it, or takes it because this machine has one.

    On a cluster whose login node has none, `auto` asks for none: the site's profile sets `gpu: 1` for these rules.
    """
    return int(device == "cuda" or device == "auto" and shutil.which("nvidia-smi") is not None)


# Three corrections that can only be made once Snakemake knows where jobs run, after this file was read:
# profiles/default says `cores: all`, which is right for this machine; on a cluster the same number, that of the login
# node, would cap the threads of every job. And on this machine every event of a run starts a timer of its own that plans
# again each second, for the sake of a limit of submissions (100 a second): half of what Snakemake costs per job. And
# Snakemake knows no limit for a resource that nobody limits: all folds would lie on the first GPU of this machine at once.
# On a cluster SLURM gives every job a GPU of its own, and a limit would only keep the others idle.
onstart:
    if workflow.non_local_exec:
        workflow.global_resources["_cores"] = None
    else:
        workflow.scheduler.job_rate_limiter = None
        for limits in (workflow.scheduler.global_resources, workflow.scheduler.resources):
            limits.setdefault("gpu", 1)
