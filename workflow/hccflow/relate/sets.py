"""Gene sets against a signature: prerank (GSEA), over-representation and single-sample scores, by gseapy.

gseapy gives the statistics and the p values that take genes as independent. Genes are not, so sets of co-expressed
genes are found far too often; what is adjusted here comes from permuted patients, who keep the genes' correlation.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hccflow.errors import ConfigError, DataAbsentError, TableError
from hccflow.metrics.multiplicity import adjust
from hccflow.relate.correlation import Array, correlation

if TYPE_CHECKING:
    from hccflow.relate.genes import Null

COLUMNS = ["method", "set", "n_set", "n_tested", "statistic", "nes", "p", "p_genes", "fdr", "genes", "reason"]
#: Permutations of genes in gseapy's own test, which is shown and never adjusted.
GENE_PERMUTATIONS = 1000


@dataclass(frozen=True)
class GeneSets:
    """Sets of usable size within the tested genes.

    Attributes
    ----------
    genes : list of str
        Tested genes: the background.
    members : dict
        Set -> its tested genes.
    sizes : dict
        Set -> number of genes in the file, also of sets that are left out.
    left_out : dict
        Set -> why it is not tested.
    """

    genes: list[str]
    members: dict[str, list[str]]
    sizes: dict[str, int]
    left_out: dict[str, str]

    @property
    def places(self) -> list[Array]:
        """Positions of each set's genes among the tested genes."""
        place = {gene: i for i, gene in enumerate(self.genes)}
        return [np.array([place[gene] for gene in genes]) for genes in self.members.values()]

    @property
    def matrix(self) -> Array:
        """Membership, shape (sets, genes)."""
        out = np.zeros((len(self.members), len(self.genes)))
        for row, places in zip(out, self.places, strict=True):
            row[places] = 1.0
        return out


def restrict(sets: Mapping[str, list[str]], genes: list[str], limits: Sequence[int]) -> GeneSets:
    """Cut sets to the tested genes; those with fewer or more of them than the limits are left out with the reason."""
    known = set(genes)
    inside = {name: [gene for gene in members if gene in known] for name, members in sets.items()}
    fits = {name: limits[0] <= len(members) <= limits[1] for name, members in inside.items()}
    return GeneSets(
        genes,
        {name: members for name, members in inside.items() if fits[name]},
        {name: len(members) for name, members in sets.items()},
        {n: f"{len(m)} tested genes, not {limits[0]} to {limits[1]}" for n, m in inside.items() if not fits[n]},
    )


def read_gmt(path: str | Path) -> dict[str, list[str]]:
    """Gene sets of a GMT file: name, description, genes, separated by tabs.

    Raises
    ------
    DataAbsentError, TableError
        No file; a line without genes, or a set twice.
    """
    path = Path(path)
    if not path.is_file():
        raise DataAbsentError("gene sets not found", where=path, todo="give a GMT file, for example MSigDB Hallmark")
    found: dict[str, list[str]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        name, *rest = line.split("\t")
        genes = list(dict.fromkeys(gene.strip() for gene in rest[1:] if gene.strip()))
        if not genes:
            raise TableError("a gene set without genes", where=f"{path}, line {number}",
                             expected="name, description, genes, separated by tabs", found=line[:60])  # fmt: skip
        if name in found:
            raise TableError("a gene set stands twice", where=f"{path}, line {number}", found=name)
        found[name] = genes
    return found


def running_extremes(r: Array, places: Sequence[Array]) -> Array:
    """Enrichment scores of sets in every ranking: the running sum's largest deviation from 0.

    Genes are ordered by falling `r` (ties in the order given). The sum rises at a member by its ``|r|`` over that of
    all members, and falls at any other gene by one over their number.

    Parameters
    ----------
    r : numpy.ndarray, shape (m, rankings)
    places : sequence of numpy.ndarray
        Positions of each set's genes, fewer than m.

    Returns
    -------
    numpy.ndarray, shape (sets, rankings)

    References
    ----------
    Subramanian A et al. Gene set enrichment analysis. Proc Natl Acad Sci USA 2005;102:15545-15550 (weight 1).
    """
    m = len(r)
    rank = np.empty(r.shape, dtype=np.int32)
    np.put_along_axis(rank, np.argsort(-r, axis=0, kind="stable"), np.arange(m, dtype=np.int32)[:, None], axis=0)
    out = np.empty((len(places), r.shape[1]))
    for row, where in zip(out, places, strict=True):
        order = np.argsort(rank[where], axis=0)
        rises = np.take_along_axis(np.abs(r[where]), order, axis=0)
        rises = np.cumsum(rises, axis=0) / rises.sum(axis=0)
        others = np.take_along_axis(rank[where], order, axis=0) - np.arange(len(where))[:, None]
        fallen = others / (m - len(where))
        highest = (rises - fallen).max(axis=0)
        lowest = (np.vstack([np.zeros(r.shape[1]), rises[:-1]]) - fallen).min(axis=0)
        row[:] = np.where(highest >= -lowest, highest, lowest)
    return out


def enrich(
    kinds: Sequence[str],
    rho: pd.Series,
    significant: Sequence[str],
    sets: GeneSets,
    null: Null,
    expression: pd.DataFrame,
    signature: pd.Series,
    covariates: pd.DataFrame | None,
    options: Mapping[str, Any],
    seed: int,
) -> pd.DataFrame:
    """Enrichment by each method; every set of the file has a row in each.

    Parameters
    ----------
    kinds : sequence of {"prerank", "ora", "ssgsea"}
    rho : pandas.Series
        Correlation of the tested genes.
    significant : sequence of str
        Genes within the false discovery rate.
    sets, null : GeneSets, Null
        See `hccflow.relate.genes.relate_genes`.
    expression, signature, covariates : pandas objects
        Of the same patients.
    options : mapping
        ``fdr, permutations, method``.
    seed : int
        Of gseapy's permutations of genes.

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`. ``statistic``: ES (prerank), odds ratio (ora), correlation of the set's score (ssgsea). ``p`` is what
        ``fdr`` (Benjamini-Hochberg over the sets of a method) adjusts; ``p_genes`` takes genes as independent.
        ``genes``: leading edge (prerank), overlap (ora).

    Raises
    ------
    ConfigError
        Too few permutations for any set to reach the false discovery rate.
    """
    needed = int(np.ceil(len(sets.members) / options["fdr"])) - 1
    if options["permutations"] < needed:
        raise ConfigError(
            "too few permutations for any gene set to reach the false discovery rate",
            where="relate.genes.permutations", expected=f"at least {needed} for {len(sets.members)} sets",
            found=options["permutations"],
        )  # fmt: skip
    tables = []
    for kind in kinds:
        with _silent():
            if not sets.members:
                table = pd.DataFrame(columns=COLUMNS)
            elif kind == "prerank":
                table = _prerank(rho, sets, null, seed)
            elif kind == "ora":
                table = _ora(significant, sets, null, options["fdr"])
            else:
                table = _ssgsea(expression, signature, covariates, sets, options["method"])
        table = (
            table.reindex(columns=COLUMNS).set_index("set").reindex(list(sets.sizes)).rename_axis("set").reset_index()
        )
        table["fdr"] = pd.Series(adjust(table["p"].astype(float).tolist(), "BH"), dtype=float)
        table["reason"] = table["set"].map(sets.left_out).fillna(table["reason"]).fillna("")
        table["n_tested"] = table["set"].map({name: len(genes) for name, genes in sets.members.items()})
        tables.append(table.assign(method=kind, n_set=table["set"].map(sets.sizes)).reindex(columns=COLUMNS))
    found = pd.concat([_typed(table) for table in tables], ignore_index=True)
    found = found.assign(size=-found["nes"].abs())  # permutations tie the strongest sets at their smallest p
    order = ["method", "p", "size", "p_genes", "set"]
    return found.sort_values(order, kind="stable", ignore_index=True).drop(columns="size")


@contextmanager
def _silent() -> Iterator[None]:
    """Without gseapy's remark that tied genes stand in arbitrary order: here they stand in the order of the table."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    numbers = dict.fromkeys(("statistic", "nes", "p", "p_genes", "fdr"), "float64")
    return table.astype({**numbers, "n_set": "Int64", "n_tested": "Int64"}).assign(genes=table["genes"].fillna(""))


def _prerank(rho: pd.Series, sets: GeneSets, null: Null, seed: int) -> pd.DataFrame:
    """GSEA of the genes ranked by correlation; NES and p against permuted patients.

    ES is divided by the mean size of the permuted ES of its own sign; p is the share of permutations whose |NES| is as
    large. With the two signs apart, half of the permutations would be lost to each.
    """
    import gseapy

    ranking = rho.iloc[np.argsort(-rho.to_numpy(), kind="stable")]
    result = gseapy.prerank(
        ranking, sets.members, weight=1.0, min_size=1, max_size=len(rho), permutation_num=GENE_PERMUTATIONS,
        ascending=None, threads=1, seed=seed, outdir=None, no_plot=True,
    ).res2d.set_index("Term").loc[list(sets.members)]  # fmt: skip
    es = result["ES"].to_numpy(float)
    nes, scaled = _normalised(es[:, None], null.es)[:, 0], _normalised(null.es, null.es)
    reached = (np.abs(scaled) >= np.abs(nes)[:, None] - 1e-12).sum(axis=1)
    p = np.where(np.isfinite(nes), (1.0 + reached) / (1.0 + scaled.shape[1]), np.nan)
    reasons = np.where(np.isfinite(nes), "", "no permutation has an ES of this sign")
    return pd.DataFrame(
        {
            "set": list(sets.members), "statistic": es, "nes": nes, "p": p,
            "p_genes": result["NOM p-val"].to_numpy(float), "genes": result["Lead_genes"].tolist(), "reason": reasons,
        }
    )  # fmt: skip


def _normalised(es: Array, null: Array) -> Array:
    """ES over the mean size of the permuted ES of the same sign; NaN where no permutation has that sign."""
    scale = [np.where(sign * null > 0, sign * null, np.nan) for sign in (1.0, -1.0)]
    count = [np.isfinite(part).sum(axis=1) for part in scale]
    up, down = (np.nansum(part, axis=1) / np.where(n > 0, n, np.nan) for part, n in zip(scale, count, strict=True))
    return es / np.where(es >= 0, up[:, None], down[:, None])


def _ora(significant: Sequence[str], sets: GeneSets, null: Null, level: float) -> pd.DataFrame:
    """Over-representation of the significant genes against the tested genes as background.

    The hypergeometric test takes genes as independent; the p that is adjusted is the larger one of it and of the share
    of permutations with as large an overlap.
    """
    if not len(significant):
        return pd.DataFrame({"set": list(sets.members), "reason": f"no gene within FDR {level:g}"})
    import gseapy

    chosen = set(significant)
    overlap = {name: [gene for gene in genes if gene in chosen] for name, genes in sets.members.items()}
    counts = np.array([len(genes) for genes in overlap.values()], float)
    # gseapy leaves out sets without overlap, and gives no table at all when no set has any
    found = pd.DataFrame(columns=["P-value", "Odds Ratio"], dtype=float)
    if counts.any():
        with np.errstate(divide="ignore"):  # gseapy's combined score takes the logarithm of p, also of 0; not used here
            result = gseapy.enrich(list(significant), sets.members, background=sets.genes, outdir=None, no_plot=True)
        found = result.results.set_index("Term")
    independent = found["P-value"].reindex(list(overlap)).fillna(1.0).to_numpy(float)
    permuted = (1.0 + (null.overlap >= counts[:, None]).sum(axis=1)) / (1.0 + null.overlap.shape[1])
    return pd.DataFrame(
        {
            "set": list(overlap), "statistic": found["Odds Ratio"].reindex(list(overlap)).fillna(0.0).to_numpy(float),
            "p": np.maximum(independent, permuted), "p_genes": independent,
            "genes": [";".join(genes) for genes in overlap.values()], "reason": "",
        }
    )  # fmt: skip


def _ssgsea(
    expression: pd.DataFrame, signature: pd.Series, covariates: pd.DataFrame | None, sets: GeneSets, method: str
) -> pd.DataFrame:
    """Correlation of the signature with each patient's own score of a set (GSVA's ssGSEA: ranks to the power 0.25)."""
    import gseapy

    result = gseapy.ssgsea(
        expression[sets.genes].T, sets.members, sample_norm_method="rank", correl_norm_type="rank", weight=0.25,
        min_size=1, max_size=len(sets.genes), outdir=None, threads=1, no_plot=True,
    ).res2d  # fmt: skip
    scores = result.set_index(["Name", "Term"])["ES"].unstack()  # noqa: PD010 - nothing to aggregate
    scores = scores.loc[expression.index, list(sets.members)]
    design = None if covariates is None else covariates.to_numpy(float)
    link = correlation(scores.to_numpy(float), signature.to_numpy(float), design, method=method)
    r, p = link.r, link.p(link.r)
    reasons = np.where(np.isfinite(r), "", "same score in every patient")
    return pd.DataFrame({"set": list(sets.members), "statistic": r, "p": p, "reason": reasons})
