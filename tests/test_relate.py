"""relate: what is planted is found, what is permuted is not, who stays alone is counted, and nothing seen teaches."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hccflow.cli import main
from hccflow.errors import ConfigError, DataAbsentError, FitError, LeakageError, TableError
from hccflow.metrics.multiplicity import adjust
from hccflow.relate import Cohort, Frozen, frozen_from, learn, read_gmt, read_measurements, relate, signature_table
from hccflow.relate.arms import arm_rows, slope_differences
from hccflow.relate.correlation import correlation, spearman_interval
from hccflow.relate.genes import GeneResult, relate_genes
from hccflow.relate.histology import Line, _slope_given, histology_rows, pairs
from hccflow.relate.matching import covariate_matrix, match, patient_covariates, varying
from hccflow.relate.mixed import fit_mixed
from hccflow.relate.sets import enrich, restrict, running_extremes
from hccflow.relate.signatures import fit_components, unseen_scores
from hccflow.study import check_config, check_section
from mockstudy import changed, default_config

GENES = [f"G{i:03d}" for i in range(150)]
SETS = {"PLANTED": GENES[:20], "COEXPRESSED": GENES[20:40]}
SETS |= {f"RANDOM_{i}": list(np.random.default_rng(i).choice(GENES[40:], 15, replace=False)) for i in range(8)}
OPTIONS = {
    "method": "spearman",
    "fdr": 0.05,
    "permutations": 400,
    "set_size": [10, 500],
    "adjust": [],
    "table": "rna.tsv",
}
OPTIONS["enrichment"] = ["prerank", "ora", "ssgsea"]


def cases(n: int, sessions: int = 1) -> pd.MultiIndex:
    """Index of `n` subjects with so many sessions."""
    rows = [(f"S{i:03d}", f"w{s}" if sessions > 1 else "") for i in range(n) for s in range(sessions)]
    return pd.MultiIndex.from_tuples(rows, names=["subject", "session"])


def planted(n: int = 30, seed: int = 0) -> tuple[pd.DataFrame, pd.Series]:
    """Expression in which the first set follows the signature and the second a factor of its own."""
    rng = np.random.default_rng(seed)
    signature = rng.standard_normal(n)
    factors = np.zeros((n, 150))
    factors[:, :20], factors[:, 20:40] = signature[:, None], rng.standard_normal((n, 1))
    values = 5 + 1.2 * factors + rng.standard_normal((n, 150))
    index = pd.Index([f"S{i:03d}" for i in range(n)], name="subject")
    return pd.DataFrame(values, index=index, columns=GENES), pd.Series(signature, index=index)


def genes_of(
    expression: pd.DataFrame, signature: pd.Series, covariates: pd.DataFrame | None = None, **options: Any
) -> GeneResult:
    return relate_genes(expression, signature, covariates, {**OPTIONS, **options}, SETS, np.random.default_rng(1))


def sets_of(expression: pd.DataFrame, signature: pd.Series, **options: Any) -> pd.DataFrame:
    found, chosen = genes_of(expression, signature, **options), {**OPTIONS, **options}
    hits = found.table.loc[found.table["fdr"] <= 0.05, "gene"].tolist()
    assert found.null is not None
    return enrich(
        chosen["enrichment"], found.tested, hits, found.sets, found.null, expression, signature, None, chosen, 3
    )


# correlation -----------------------------------------------------------------------------------------------------


def test_spearman_is_that_of_r() -> None:
    folder = Path(os.environ.get("HCCFLOW_REFERENCE", "")) / "stats"
    if not os.environ.get("HCCFLOW_REFERENCE") or not folder.is_dir():
        pytest.skip("HCCFLOW_REFERENCE is not set: the folder of the reference cases")
    expected = json.loads((folder / "13_icc_multiplicity_combat_pool" / "expected.json").read_text(encoding="utf-8"))
    table = pd.read_csv(folder / "01_hcc_resection_asaur" / "input.csv").query("cohort == 'train'")
    table = table[table["y_true"].notna()].dropna(subset=["cxcl17t", "cd8t"])
    link = correlation(table[["cxcl17t"]].to_numpy(), table["cd8t"].to_numpy())
    assert len(table) == expected["spearman"]["n"]
    assert link.r[0] == pytest.approx(expected["spearman"]["rho"], abs=1e-9)
    assert link.p(link.r)[0] == pytest.approx(expected["spearman"]["p"], abs=1e-9)


def test_many_columns_at_once_agree_with_scipy_also_with_ties() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.integers(0, 6, (25, 12)).astype(float), rng.integers(0, 4, 25).astype(float)
    for method, one in (("spearman", stats.spearmanr), ("pearson", stats.pearsonr)):
        link = correlation(x, y, method=method)
        expected = [one(column, y) for column in x.T]
        np.testing.assert_allclose(link.r, [e.statistic for e in expected], atol=1e-12)
        np.testing.assert_allclose(link.p(link.r), [e.pvalue for e in expected], rtol=1e-9)
        np.testing.assert_allclose(link.p(link.critical(np.array([0.2, 0.01]))), [0.2, 0.01], rtol=1e-9)


def test_a_partial_correlation_is_that_of_residuals_of_ranks() -> None:
    rng = np.random.default_rng(3)
    site = np.repeat([0.0, 1.0], 15)
    x, y = rng.standard_normal((30, 1)) + 2 * site[:, None], rng.standard_normal(30) + 2 * site
    design = np.column_stack([np.ones(30), site])
    ranks = np.column_stack([stats.rankdata(x[:, 0]), stats.rankdata(y)])
    left = ranks - design @ np.linalg.lstsq(design, ranks, rcond=None)[0]
    link = correlation(x, y, np.column_stack([site, 1 - site]))  # a redundant column does no harm
    r = stats.pearsonr(left[:, 0], left[:, 1]).statistic
    assert link.r[0] == pytest.approx(r, abs=1e-12)
    assert link.df == 27
    assert link.p(link.r)[0] == pytest.approx(2 * stats.t.sf(abs(r) * np.sqrt(27 / (1 - r**2)), 27), rel=1e-9)


def test_the_interval_of_spearman_covers() -> None:
    rng = np.random.default_rng(4)
    rho = 6 / np.pi * np.arcsin(0.5 / 2)  # Spearman's of a normal pair with correlation 0.5
    inside = 0
    for _ in range(400):
        pair = rng.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], 40)
        low, high = spearman_interval(float(stats.spearmanr(pair).statistic), 40)
        inside += low <= rho <= high
    assert 0.92 <= inside / 400 <= 0.98


# genes and sets --------------------------------------------------------------------------------------------------


def test_the_planted_set_is_found_and_the_coexpressed_one_is_not() -> None:
    expression, signature = planted()
    table = sets_of(expression, signature)
    for method in ("prerank", "ora"):
        called = table[(table["method"] == method) & (table["fdr"] <= 0.05)]
        assert called["set"].tolist() == ["PLANTED"], method
    # ssGSEA ranks genes within a patient: where 20 of 150 rise, the others fall, so it is judged by its strongest set.
    scores = table[table["method"] == "ssgsea"]
    assert scores["set"].iloc[0] == "PLANTED"
    assert scores["fdr"].iloc[0] < 1e-6
    row = table[(table["method"] == "prerank") & (table["set"] == "PLANTED")].iloc[0]
    assert row["nes"] > 0
    assert set(row["genes"].split(";")) <= set(GENES[:20])
    assert row["n_tested"] == 20
    found = genes_of(expression, signature)
    hits = set(found.table.loc[found.table["fdr"] <= 0.05, "gene"])
    assert len(hits & set(GENES[:20])) >= 15
    assert found.estimates["genes_significant"][1].p == pytest.approx(1 / 401)
    chance = found.estimates["genes_unadjusted_by_chance"][1].value
    assert chance is not None and 4 < chance < 12, "5% of 150 genes"


def test_a_permuted_signature_finds_nothing_beyond_the_rate() -> None:
    expression, signature = planted()
    with_genes = with_sets = independent = 0
    for seed in range(12):
        shuffled = pd.Series(np.random.default_rng(100 + seed).permutation(signature), index=signature.index)
        found = genes_of(expression, shuffled)
        with_genes += bool((found.table["fdr"] <= 0.05).any())
        table = sets_of(expression, shuffled, enrichment=["prerank", "ora"])
        with_sets += bool((table["fdr"] <= 0.05).any())
        gsea = table[table["method"] == "prerank"]
        independent += bool((np.array(adjust(gsea["p_genes"].tolist(), "BH"), float) <= 0.05).any())
    assert with_genes <= 2
    assert with_sets <= 2
    assert independent > with_sets, "genes taken as independent call the coexpressed set far too often"


def test_the_numbers_do_not_depend_on_how_often_they_are_asked() -> None:
    expression, signature = planted()
    pd.testing.assert_frame_equal(sets_of(expression, signature), sets_of(expression, signature))


def test_enrichment_scores_are_those_of_gseapy() -> None:
    import gseapy

    r = pd.Series(np.random.default_rng(5).standard_normal(150) / 3, index=GENES)
    sets = restrict(SETS, GENES, (10, 500))
    mine = running_extremes(r.to_numpy()[:, None], sets.places)[:, 0]
    theirs = gseapy.prerank(
        r.sort_values(ascending=False), sets.members, weight=1.0, min_size=1, max_size=150, permutation_num=10,
        threads=1, seed=1, outdir=None, no_plot=True,
    ).res2d.set_index("Term")["ES"].loc[list(sets.members)]  # fmt: skip
    np.testing.assert_allclose(mine, theirs.astype(float), atol=1e-12)


def test_permuted_hits_are_those_of_benjamini_and_hochberg() -> None:
    expression, signature = planted(n=20, seed=8)
    found = genes_of(expression, signature, permutations=100)
    assert found.null is not None
    link = correlation(expression.to_numpy(), signature.to_numpy())
    r = np.concatenate(list(link.permuted(100, np.random.default_rng(1))), axis=1)
    fdr = np.array([adjust(list(link.p(column)), "BH") for column in r.T], float)
    np.testing.assert_array_equal(found.null.hits, (fdr <= 0.05).sum(axis=1))
    np.testing.assert_array_equal(found.null.raw, (np.array([link.p(c) for c in r.T]) <= 0.05).sum(axis=1))


def test_constant_and_missing_genes_are_told_and_are_no_tests() -> None:
    expression, signature = planted()
    expression["G149"], expression.loc["S003", "G148"] = 7.0, np.nan
    found = genes_of(expression, signature)
    table = found.table.set_index("gene")
    assert table.loc["G149", "reason"] == "same value in every patient"
    assert table.loc["G148", "reason"] == "missing in some matched patient"
    assert table.loc[["G148", "G149"], ["rho", "p", "fdr"]].isna().all(axis=None)
    assert found.estimates["genes_tested"][1].value == 148
    known = table["p"].dropna()
    np.testing.assert_allclose(table.loc[known.index, "fdr"], stats.false_discovery_control(known), rtol=1e-12)


def test_few_patients_or_a_constant_signature_give_no_number_but_a_reason() -> None:
    expression, signature = planted()
    few = genes_of(expression.iloc[:9], signature.iloc[:9])
    assert few.null is None
    assert few.table["rho"].isna().all()
    assert few.estimates["genes_significant"][1].value is None
    assert few.estimates["genes_significant"][1].reason == "9 matched patients; at least 10 are needed"
    same = genes_of(expression, pd.Series(1.0, index=signature.index))
    assert same.estimates["genes_tested"][1].reason == "the signature is the same in every matched patient"


def test_adjusting_for_site_removes_what_site_made() -> None:
    rng = np.random.default_rng(6)
    site = pd.DataFrame({"site_B": np.repeat([0.0, 1.0], 20)}, index=pd.Index([f"S{i:03d}" for i in range(40)]))
    expression = pd.DataFrame(rng.standard_normal((40, 150)) + 3 * site.to_numpy(), index=site.index, columns=GENES)
    signature = pd.Series(rng.standard_normal(40) + 3 * site["site_B"], index=site.index)
    assert (genes_of(expression, signature).table["fdr"] <= 0.05).sum() > 100
    assert (genes_of(expression, signature, site).table["fdr"] <= 0.05).sum() <= 1


def test_sets_of_the_wrong_size_are_told_and_too_few_permutations_are_refused() -> None:
    expression, signature = planted()
    sets = {**SETS, "SMALL": GENES[:3], "ELSEWHERE": ["TP53", "MYC"]}
    found = relate_genes(expression, signature, None, OPTIONS, sets, np.random.default_rng(1))
    assert found.null is not None
    arguments = (found.tested, [], found.sets, found.null, expression, signature, None)
    table = enrich(["prerank", "ora"], *arguments, OPTIONS, 1).set_index(["method", "set"])
    assert table.loc[("prerank", "SMALL"), "reason"] == "3 tested genes, not 10 to 500"
    assert np.isnan(table.loc[("prerank", "ELSEWHERE"), "p"])
    assert table.loc[("ora", "PLANTED"), "reason"] == "no gene within FDR 0.05"
    with pytest.raises(ConfigError, match="too few permutations.*at least 999 for 10 sets"):
        enrich(["prerank"], *arguments, {**OPTIONS, "fdr": 0.01}, 1)


def test_gmt(tmp_path: Path) -> None:
    path = tmp_path / "a.gmt"
    path.write_text("ONE\tsource\tA\tB\tA\t\n\nTWO\t\tC\n", encoding="utf-8")
    assert read_gmt(path) == {"ONE": ["A", "B"], "TWO": ["C"]}
    path.write_text("ONE\tsource\n", encoding="utf-8")
    with pytest.raises(TableError, match="without genes.*line 1"):
        read_gmt(path)
    path.write_text("ONE\tx\tA\nONE\tx\tB\n", encoding="utf-8")
    with pytest.raises(TableError, match="stands twice.*line 2"):
        read_gmt(path)
    with pytest.raises(DataAbsentError, match="gene sets not found"):
        read_gmt(tmp_path / "none.gmt")


@pytest.mark.realdata
@pytest.mark.slow
def test_real_expression(realdata: Callable[[str], Path]) -> None:
    """GSE136711: 15,168 genes, 41 samples of 12 patients; Hallmark."""
    import rdata

    folder = realdata("genomics_survival")
    sets = read_gmt(folder / "gseapy/extdata/h.all.v7.0.symbols.gmt")
    assert len(sets) == 50
    assert len(sets["HALLMARK_HYPOXIA"]) == 200
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the file is an RDS under another name
        array = rdata.read_rds(folder / "hccevosig/GSE136711_vst_exp.RData")
    genes, samples = (array.coords[name].to_numpy().astype(str) for name in array.dims)
    patients = [sample.split(".")[0] for sample in samples]
    index = pd.MultiIndex.from_arrays([patients, [""] * len(samples)], names=["subject", "session"])
    table = pd.DataFrame(array.to_numpy().T, index=index, columns=genes)
    subjects = pd.Index(sorted(set(patients)), name="subject")
    score = pd.Series(np.random.default_rng(0).standard_normal(12), index=subjects)
    members = [gene for gene in sets["HALLMARK_HYPOXIA"] if gene in table]
    shift = 3 * np.outer(score.loc[patients], table[members].groupby(level="subject").mean().std())
    with_plant = table.copy()
    with_plant[members] += shift
    settings = {
        "study": "s",
        "seed": 5,
        "columns": {},
        "relate": {"signatures": {}, "genes": {**OPTIONS, "permutations": 1000}},
    }

    def found(values: pd.Series, table: pd.DataFrame) -> Any:
        signatures = pd.DataFrame({"score": values.to_numpy()}, index=cases_of(values.index))
        subjects = pd.DataFrame({"subject": values.index, "session": "", "site": "A"})
        cohort = Cohort("gse", True, subjects, signatures, table)
        return relate(cohort, Frozen({}, {}, {}), frozenset(), sets, settings)

    result = found(score, with_plant)
    count = result.matching.iloc[0]
    assert (count["n_matched"], count["n_samples"], count["n_averaged"]) == (12, 41, 12)
    hits = set(result.genes.loc[result.genes["fdr"] <= 0.05, "gene"])
    assert len(hits & set(members)) > 0.8 * len(hits) > 50
    for method, table_of_sets in result.enrichment.groupby("method"):
        called = table_of_sets[table_of_sets["fdr"] <= 0.05]
        assert "HALLMARK_HYPOXIA" in set(called["set"]), method
        assert called.loc[called["statistic"].abs().idxmax(), "set"] == "HALLMARK_HYPOXIA", method
    for seed in (1, 2, 3):
        null = found(pd.Series(np.random.default_rng(seed).permutation(score), index=score.index), table)
        assert not (null.genes["fdr"] <= 0.05).any()
        assert not (null.enrichment["fdr"] <= 0.05).any()


def cases_of(subjects: pd.Index) -> pd.MultiIndex:
    return pd.MultiIndex.from_product([subjects, [""]], names=["subject", "session"])


# matching --------------------------------------------------------------------------------------------------------


def test_who_stays_alone_is_counted() -> None:
    signature = pd.Series([1.0, 2.0, np.nan, 4.0], index=cases(4))
    rows = [("S000", ""), ("S000", ""), ("S002", ""), ("S003", ""), ("X001", "")]
    index = pd.MultiIndex.from_tuples(rows, names=["subject", "session"])
    table = pd.DataFrame({"G": range(5)}, index=index)
    covariates = pd.DataFrame({"age": [60.0, 61.0, 62.0, np.nan]}, index=cases(4))
    matched, counts = match(signature, table, covariates)
    assert list(matched) == ["S000"]
    assert counts == {
        "n_enrolled": 4, "n_signature": 3, "n_table": 4, "n_samples": 5, "n_averaged": 1, "n_matched": 1,
        "n_signature_only": 1, "n_table_not_enrolled": 1, "n_table_no_signature": 1, "n_no_covariate": 1,
    }  # fmt: skip


def test_covariates_become_numbers() -> None:
    subjects = pd.DataFrame(
        {"subject": ["A", "B", "C"], "session": "", "site": ["x", "y", "y"], "age": [50.0, np.nan, 70.0],
         "stage": ["I", "", "II"]}
    )  # fmt: skip
    columns = {"age": {"kind": "number"}, "stage": {"kind": "category"}}
    matrix = covariate_matrix(subjects, ["site", "age", "stage"], columns)
    assert matrix is not None
    assert list(matrix) == ["site_y", "age", "stage_II"]
    assert matrix.loc[("A", "")].tolist() == [0.0, 50.0, 0.0]
    assert matrix.loc[("B", "")].isna().tolist() == [False, True, True]


def test_a_covariate_of_the_session_stays_with_its_session() -> None:
    subjects = pd.DataFrame(
        {"subject": ["A", "A", "B", "B"], "session": ["w0", "w1"] * 2, "week": [0.0, 4.0, np.nan, 4.0],
         "age": [50.0, np.nan, np.nan, 60.0]}
    )  # fmt: skip
    matrix = covariate_matrix(subjects, ["week", "age"], {"week": {"kind": "number"}, "age": {"kind": "number"}})
    assert matrix is not None and varying(matrix) == ["week"]
    assert matrix["age"].tolist() == [50.0, 50.0, 60.0, 60.0], "of the patient: known once, it holds for all sessions"
    np.testing.assert_equal(matrix["week"].to_numpy(), [0.0, 4.0, np.nan, 4.0])
    with pytest.raises(TableError, match=r"'week' varies within a patient.*HERE.*found: 0, 4 in A; do: THIS"):
        patient_covariates(matrix, "HERE", "THIS")
    of_patients = patient_covariates(matrix[["age"]], "HERE", "THIS")
    assert of_patients is not None and of_patients["age"].to_dict() == {"A": 50.0, "B": 60.0}


def test_a_cell_that_is_no_number_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rna.tsv"
    path.write_text("subject\tG1\tG2\nA\t1\t2.5\nB\t\thigh\n", encoding="utf-8")
    with pytest.raises(TableError, match="column 'G2'.*line 3.*'high'"):
        read_measurements(path)
    path.write_text("subject\tG1\nA\t1\nB\t\n", encoding="utf-8")
    table = read_measurements(path)
    assert table["G1"].isna().tolist() == [False, True]


# signatures ------------------------------------------------------------------------------------------------------


def test_scores_of_taught_subjects_are_refused() -> None:
    rows = {"model": "m", "cohort": "c", "subject": ["A", "B"], "session": "", "y_prob": [0.1, 0.2], "risk": np.nan}
    scores = pd.DataFrame({**rows, "kind": ["oof", "apparent"]})
    with pytest.raises(LeakageError, match="1 rows are apparent.*subject B"):
        unseen_scores(scores)
    scores = pd.concat([scores.assign(kind="oof"), scores.assign(kind="oof", y_prob=[0.3, 0.2])])
    assert unseen_scores(scores).tolist() == pytest.approx([0.2, 0.2]), "repeats are averaged"


def development(n: int = 20) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(9)
    names = [f"S{i:03d}" for i in range(n)]
    subjects = pd.DataFrame({"cohort": "dev", "subject": names, "session": "", "role": "development", "site": "A"})
    split = pd.DataFrame({"cohort": "dev", "subject": names, "role": ["train"] * (n - 4) + ["test"] * 4, "repeat": 0})
    features = pd.DataFrame(rng.standard_normal((n, 5)), columns=[f"f{i}" for i in range(5)])
    features["f4"] = features["f0"] * 2 + 0.1 * features["f4"]
    return subjects, split, pd.concat([subjects[["cohort", "subject", "session"]], features], axis=1)


def test_components_learn_from_training_rows_alone() -> None:
    subjects, split, features = development()
    settings = {"signatures": {"pca": {"roi": "manual", "features": ["f*"], "components": 2}}}
    first, fits = learn(settings, subjects, split, {}, {"pca": features}, None)
    spoilt = features.copy()
    spoilt.loc[16:, "f0":"f4"] *= 100  # test rows
    second, _ = learn(settings, subjects, split, {}, {"pca": spoilt}, None)
    assert first.document() == second.document()
    assert fits["step"].tolist() == ["components pca", "scale pca_pc1", "scale pca_pc2"]
    assert fits["n"].tolist() == [16, 16, 16]
    train = features.iloc[:16, 3:]
    z = ((train - train.mean()) / train.std()).to_numpy()
    loadings = np.array(first.components["pca"].loadings)
    np.testing.assert_allclose(loadings @ loadings.T, np.eye(2), atol=1e-12)
    values, vectors = np.linalg.eigh(np.cov(z.T))
    np.testing.assert_allclose(np.abs(loadings[0]), np.abs(vectors[:, -1]), atol=1e-9)
    assert first.components["pca"].explained[0] == pytest.approx(values[-1] / values.sum())
    again = frozen_from(json.loads(json.dumps(first.document())))
    index = pd.MultiIndex.from_frame(subjects[["subject", "session"]])
    table = signature_table(settings["signatures"], {}, {"pca": features}, again.components, index)
    train_scores = again.standardised(table).iloc[:16]
    np.testing.assert_allclose(train_scores.mean(), 0, atol=1e-12)
    np.testing.assert_allclose(train_scores.std(), 1)


def test_a_judging_cohort_cannot_teach() -> None:
    subjects, split, features = development()
    settings = {"signatures": {"pca": {"roi": "manual", "features": ["f*"], "components": 2}}}
    with pytest.raises(LeakageError):
        learn(settings, subjects.assign(role="external"), split, {}, {"pca": features}, None)
    with pytest.raises(FitError, match="6 components cannot be made"):
        fit_components(features[["f0", "f1"]], 6, "here")


def test_deep_features_of_those_who_taught_the_network_teach_components_and_are_nobody_s_signature() -> None:
    subjects, split, features = development()
    settings = {"signatures": {"deep": {"network": "net", "features": ["*"], "components": 2}}}
    features["kind"] = ["apparent"] * 16 + ["frozen"] * 4
    histology = pd.DataFrame({"viability": features["f0"].to_numpy()}, index=cases_of(features["subject"]))
    frozen, fits = learn(settings, subjects, split, {}, {"deep": features}, histology)
    assert fits["n"].tolist() == [16, 16, 16], "no line to histology is learnt from scores of the taught"
    assert frozen.lines == {}
    same, _ = learn(settings, subjects, split, {}, {"deep": features.drop(columns="kind")}, None)
    assert frozen.components == same.components
    index = pd.MultiIndex.from_frame(subjects[["subject", "session"]])
    table = signature_table(settings["signatures"], {}, {"deep": features}, frozen.components, index)
    assert table.iloc[:16].isna().all(axis=None) and table.iloc[16:].notna().all(axis=None)


def test_features_are_signatures_of_their_own_without_components() -> None:
    subjects, split, features = development()
    settings = {"signatures": {"deep": {"table": "deep.tsv", "features": ["f1", "f3"]}}}
    frozen, _ = learn(settings, subjects, split, {}, {"deep": features}, None)
    assert list(frozen.scale) == ["deep:f1", "deep:f3"]
    settings["signatures"]["deep"]["features"] = ["g*"]
    with pytest.raises(TableError, match="no feature matches.*g\\*"):
        learn(settings, subjects, split, {}, {"deep": features}, None)


def test_a_cohort_without_images_has_signatures_without_values() -> None:
    subjects, split, features = development()
    settings = {
        "signatures": {
            "deep": {"network": "net", "features": ["f*"], "components": 2},
            "texture": {"table": "deep.tsv", "features": ["f1"]},
        }
    }
    frozen, _ = learn(settings, subjects, split, {}, {"deep": features, "texture": features}, None)
    nothing = pd.DataFrame(columns=["subject", "session"])
    cases = pd.MultiIndex.from_tuples([("r1", ""), ("r2", "")], names=["subject", "session"])
    empty = {"deep": nothing, "texture": nothing}
    table = frozen.standardised(signature_table(settings["signatures"], {}, empty, frozen.components, cases))
    assert list(table) == list(frozen.scale) == ["deep_pc1", "deep_pc2", "texture:f1"]
    assert table.shape == (2, 3) and table.isna().all(axis=None)


# histology -------------------------------------------------------------------------------------------------------


def histology_of(n: int = 30, *, lines: dict[str, Line] | None = None, taught: frozenset[str] = frozenset()) -> Any:
    rng = np.random.default_rng(11)
    x = rng.standard_normal(n)
    signatures = pd.DataFrame({"s": x, "noise": rng.standard_normal(n)}, index=cases(n))
    targets = pd.DataFrame({"viability": 40 + 10 * x + 3 * rng.standard_normal(n)}, index=cases(n))
    rows = histology_rows(signatures, targets, "ols", lines, taught)
    return signatures, targets, {(row["metric"], row["model"]): row for row in rows}


def test_regression_is_that_of_statsmodels_and_unseen_error_that_of_the_hat_matrix() -> None:
    import statsmodels.api as sm

    signatures, targets, found = histology_of()
    fit = sm.OLS(targets["viability"], sm.add_constant(signatures["s"])).fit()
    slope = found["slope", "s"]
    assert slope["value"] == pytest.approx(fit.params["s"])
    assert (slope["ci_low"], slope["ci_high"]) == pytest.approx(tuple(fit.conf_int().loc["s"]))
    assert slope["p"] == pytest.approx(fit.pvalues["s"])
    assert found["r2", "s"]["value"] == pytest.approx(fit.rsquared)
    left = fit.resid / (1 - fit.get_influence().hat_matrix_diag)
    assert found["rmse_unseen", "s"]["value"] == pytest.approx(np.sqrt(np.mean(left**2)))
    assert found["r2_unseen", "noise"]["value"] < 0.05
    raw = [found["spearman", name]["p"] for name in ("s", "noise")]
    assert [found["spearman_holm", name]["p"] for name in ("s", "noise")] == pytest.approx(adjust(raw, "holm"))


def test_elsewhere_the_frozen_line_predicts_those_who_did_not_teach_it() -> None:
    line = Line(40.0, 10.0, 50)
    taught = frozenset(f"S{i:03d}" for i in range(12))
    signatures, targets, found = histology_of(lines={"viability|s": line}, taught=taught)
    x, y = signatures["s"].to_numpy()[12:], targets["viability"].to_numpy()[12:]
    assert found["rmse_unseen", "s"]["value"] == pytest.approx(np.sqrt(np.mean((y - 40 - 10 * x) ** 2)))
    assert found["r2_unseen", "s"]["value"] == pytest.approx(1 - np.mean((y - 40 - 10 * x) ** 2) / np.var(y))
    assert found["rmse_unseen", "s"]["n"] == 18
    assert found["rmse_unseen", "noise"]["reason"] == "development could not fit a line"


def test_few_patients_give_reasons_in_every_row() -> None:
    _, _, found = histology_of(9)
    for row in found.values():
        assert row["value"] is None
        assert row["reason"] == "9 matched patients; at least 10 are needed"


def test_within_arms_histology_does_not_follow_what_only_the_arms_made() -> None:
    rng = np.random.default_rng(5)
    arm = np.arange(32) % 4
    index = cases(32)
    signatures = pd.DataFrame({"s": arm + 0.3 * rng.standard_normal(32), "arm": 1.0 * arm}, index=index)
    targets = pd.DataFrame({"viability": 40 - 9 * arm + 3 * rng.standard_normal(32)}, index=index)
    subjects = index.to_frame(index=False).assign(arm=pd.Series(arm).map(dict(enumerate("abcd"))))
    given = covariate_matrix(subjects, ["arm"], {"arm": {"kind": "category"}})
    plain, within = (
        {(row["metric"], row["model"]): row for row in histology_rows(signatures, targets, "ols", None, frozenset(), g)}
        for g in (None, given)
    )
    assert plain["spearman", "s"]["value"] < -0.8
    row = within["spearman", "s"]
    assert row["p"] > 0.05
    ranks = np.column_stack([stats.rankdata(signatures["s"]), stats.rankdata(targets["viability"])])
    left = ranks - np.array([ranks[arm == a].mean(axis=0) for a in range(4)])[arm]
    r = stats.pearsonr(left[:, 0], left[:, 1]).statistic
    assert row["value"] == pytest.approx(r)
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(r) * np.sqrt(27 / (1 - r**2)), 27))
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(spearman_interval(r, 29))
    assert within["slope", "s"] == plain["slope", "s"]
    assert plain["slope", "s"]["p"] < 1e-6
    assert within["slope_partial", "s"]["p"] > 0.05 and ("slope_partial", "s") not in plain
    assert within["slope_partial", "arm"]["reason"] == within["spearman", "arm"]["reason"]
    assert within["spearman", "arm"]["reason"] == "the covariates explain the signature or the target entirely"
    assert given is not None
    given.iloc[:20] = np.nan
    few = histology_rows(signatures[["s"]], targets, "ols", None, frozenset(), given)
    assert few[0]["reason"] == "12 matched patients with all covariates; at least 13 are needed"
    assert few[1]["value"] == plain["slope", "s"]["value"]
    assert next(row for row in few if row["metric"] == "slope_partial")["reason"] == few[0]["reason"]


@pytest.mark.parametrize("regression", ["ols", "mixed"])
def test_a_slope_given_covariates_is_that_of_statsmodels(regression: str) -> None:
    import statsmodels.api as sm

    sessions = 3 if regression == "mixed" else 1
    rng = np.random.default_rng(8)
    index, n = cases(30, sessions), 30 * sessions
    arm, age = np.repeat(np.arange(30) % 3, sessions), np.repeat(60 + 9 * rng.standard_normal(30), sessions)
    x = pd.DataFrame({"s": arm + rng.standard_normal(n), "noise": rng.standard_normal(n)}, index=index)
    own = np.repeat(rng.standard_normal(30), sessions)
    y = pd.DataFrame({"viability": 40 + 2 * x["s"] - 6 * arm + 0.2 * age + own + rng.standard_normal(n)}, index=index)
    y["apoptosis"] = rng.standard_normal(n)
    subjects = index.to_frame(index=False).assign(arm=pd.Series(arm).map(dict(enumerate("abc"))), age=age)
    given = covariate_matrix(subjects, ["arm", "age"], {"arm": {"kind": "category"}, "age": {"kind": "number"}})
    assert given is not None
    twice = given.assign(again=given["age"] * 2)  # a redundant covariate changes nothing
    rows, again = (histology_rows(x, y, regression, None, frozenset(), c) for c in (given, twice))
    found = {(row["metric"], row["endpoint"], row["model"]): row for row in rows}
    slope = found["slope_partial", "viability", "s"]
    design = sm.add_constant(np.column_stack([x["s"], arm == 1, arm == 2, age]).astype(float))
    if regression == "ols":
        fit, df = sm.OLS(y["viability"].to_numpy(), design).fit(), 25
    else:
        groups = index.get_level_values("subject")
        fit, df = sm.MixedLM(y["viability"].to_numpy(), design, groups=groups).fit(reml=True, method="bfgs"), 25
    value, error = fit.params[1], fit.bse[1]
    half, near = stats.t.ppf(0.975, df) * error, 1e-9 if regression == "ols" else 1e-3
    assert slope["value"] == pytest.approx(value, rel=near)
    assert (slope["ci_low"], slope["ci_high"]) == pytest.approx((value - half, value + half), rel=near)
    assert slope["p"] == pytest.approx(2 * stats.t.sf(abs(value / error), df), rel=50 * near)
    assert slope["ci_method"].endswith(", partial") and slope["n"] == 30
    other = next(r for r in again if (r["metric"], r["endpoint"], r["model"]) == ("slope_partial", "viability", "s"))
    assert other["value"] == pytest.approx(slope["value"], rel=near)
    for metric in ("spearman", "slope", "slope_partial"):
        mine = [row for row in rows if row["metric"] == metric]
        holm = [row for row in rows if row["metric"] == f"{metric}_holm"]
        assert [r["p"] for r in holm] == pytest.approx(adjust([r["p"] for r in mine], "holm"))
        assert {r["ci_method"] for r in holm} == {"Holm over 4"}, "each kind is a family of its own"


def test_a_difference_of_arms_alone_gives_no_slope_within_them() -> None:
    """Only the arms' means differ: the plain slope finds that nearly always, the adjusted one at its level of 5 %."""
    arm, index = np.arange(32) % 4, cases(32)
    subjects = index.to_frame(index=False).assign(arm=pd.Series(arm).map(dict(enumerate("abcd"))))
    given = covariate_matrix(subjects, ["arm"], {"arm": {"kind": "category"}})
    assert given is not None
    plain, within = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x, y = arm + rng.standard_normal(32), 40 - 2 * arm + rng.standard_normal(32)
        means = pd.DataFrame({"x": x, "y": y}, index=index).groupby(level="subject").mean()
        plain.append(stats.linregress(x, y).pvalue <= 0.05)
        within.append((_slope_given(means, given, "ols").p or 0.0) <= 0.05)
    assert np.mean(plain) > 0.95
    assert 0.02 < np.mean(within) < 0.09


def test_what_only_time_links_is_no_slope_given_time() -> None:
    """Signature and histology both follow the week and nothing else: the slope given the week must not see it."""
    import statsmodels.api as sm

    rng, index = np.random.default_rng(3), cases(24, 4)
    week = np.tile(np.arange(4.0), 24)
    rat = np.repeat(rng.standard_normal((2, 24)), 4, axis=1)
    x = pd.DataFrame({"s": week + rat[0] + 0.5 * rng.standard_normal(96)}, index=index)
    y = pd.DataFrame({"viability": 40 - 5 * week + rat[1] + rng.standard_normal(96)}, index=index)
    given = covariate_matrix(index.to_frame(index=False).assign(week=week), ["week"], {"week": {"kind": "number"}})
    found = {row["metric"]: row for row in histology_rows(x, y, "mixed", None, frozenset(), given)}
    plain, partial = found["slope"], found["slope_partial"]
    assert plain["value"] < -3 and plain["p"] < 1e-6
    assert abs(partial["value"]) < 0.5 and partial["ci_low"] < 0 < partial["ci_high"] and partial["n"] == 24
    design = sm.add_constant(np.column_stack([x["s"], week]))
    fit = sm.MixedLM(y["viability"].to_numpy(), design, groups=index.get_level_values("subject")).fit(method="bfgs")
    assert partial["value"] == pytest.approx(fit.params[1], abs=1e-3)
    why = "not the same in all sessions of a patient, whose mean is compared: week"
    assert found["spearman"]["reason"] == why and found["spearman"]["value"] is None
    once = y.groupby(level="subject").mean().set_index(pd.Index([""] * 24, name="session"), append=True)
    of_patients = {row["metric"]: row for row in histology_rows(x, once, "mixed", None, frozenset(), given)}
    assert of_patients["slope_partial"]["reason"] == why
    assert of_patients["slope"]["reason"] == "no patient was measured twice; least squares answers this"


@pytest.mark.parametrize("part", ["genes", "histology"])
def test_a_covariate_of_the_session_is_refused_for_means_of_patients(part: str) -> None:
    index = cases(12, 2)
    values = pd.DataFrame({"value": np.arange(24.0)}, index=index)
    subjects = index.to_frame(index=False).assign(week=np.tile([0.0, 4.0], 12))
    cohort = Cohort("rats", True, subjects, values.rename(columns={"value": "s"}), values, values)
    histology = {"table": "histology.tsv", "targets": ["value"], "regression": "ols", "adjust": ["week"]}
    chosen = {"genes": {**OPTIONS, "adjust": ["week"]}, "histology": histology}[part]
    settings = {"study": "s", "seed": 5, "columns": {"week": {"kind": "number"}}, "relate": {part: chosen}}
    where = f"where: config.relate.{part}.adjust, cohort rats; .*found: 0, 4 in S000; do: take it out of adjust"
    with pytest.raises(TableError, match=where):
        relate(cohort, Frozen({}, {}, {}), frozenset(), {}, settings)


def test_a_target_of_the_patient_meets_the_mean_of_the_sessions() -> None:
    signature = pd.Series([1.0, 3.0, 5.0, 7.0], index=cases(2, 2))
    once = pd.Series([10.0, 20.0, 22.0], index=pd.MultiIndex.from_tuples([("S000", ""), ("S001", ""), ("S001", "")],
                                                                        names=["subject", "session"]))  # fmt: skip
    assert pairs(signature, once).to_numpy().tolist() == [[2.0, 10.0], [6.0, 21.0]]
    each = pd.Series([10.0, 20.0], index=pd.MultiIndex.from_tuples([("S000", "w1"), ("S001", "w0")],
                                                                  names=["subject", "session"]))  # fmt: skip
    assert pairs(signature, each).to_numpy().tolist() == [[3.0, 10.0], [5.0, 20.0]]


# repeated measures -----------------------------------------------------------------------------------------------


def rats(
    effect: float, slope: float, seed: int, n: int = 24, weeks: int = 4
) -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    """Rats of three arms, measured weekly, each with a level of its own."""
    rng = np.random.default_rng(seed)
    index = cases(n, weeks)
    arm = np.repeat(np.array(["control", "tace", "combined"])[np.arange(n) % 3], weeks)
    week = np.tile(np.arange(weeks, dtype=float), n)
    own = np.repeat(rng.standard_normal(n), weeks)
    y = own + 0.4 * rng.standard_normal(n * weeks) + (arm == "combined") * (effect + slope * (week - week.mean()))
    return pd.DataFrame({"y": y}, index=index), pd.Series(arm, index=index), pd.Series(week, index=index)


def test_arms_are_told_apart_by_their_course() -> None:
    outcomes, arm, week = rats(effect=3.0, slope=1.0, seed=1)
    rows = arm_rows(outcomes, arm, ["control", "tace", "combined"], week)
    found = {(r["metric"], r["group"]): r for r in rows if r["comparator"] == "control"}
    level, course = found["arm_difference", "combined"], found["arm_slope_difference", "combined"]
    assert level["ci_low"] < 3.0 < level["ci_high"]
    assert course["ci_low"] < 1.0 < course["ci_high"]
    assert course["p"] < 0.001
    assert found["arm_slope_difference", "tace"]["p"] > 0.05
    assert found["arm_slope_difference_holm", "combined"]["p"] >= course["p"]
    assert (level["n"], course["n"]) == (24, 16)


def test_every_two_arms_are_compared_and_all_are_counted() -> None:
    """What a combination adds is asked against each of its parts, not only against no treatment."""
    outcomes, arm, week = rats(effect=3.0, slope=1.0, seed=1)
    outcomes["second"] = -outcomes["y"]
    rows = arm_rows(outcomes, arm, ["control", "tace", "combined"], week)
    for metric in ("arm_difference", "arm_slope_difference"):
        own = {(r["group"], r["comparator"]): r for r in rows if r["metric"] == metric and r["model"] == "y"}
        assert set(own) == {("tace", "control"), ("combined", "control"), ("combined", "tace")}
        indirect = own["combined", "control"]["value"] - own["tace", "control"]["value"]
        assert own["combined", "tace"]["value"] == pytest.approx(indirect, abs=1e-9)
        assert own["combined", "tace"]["p"] < 0.001
    again = arm_rows(outcomes[["y"]], arm, ["tace", "combined", "control"], week)
    first, other = (
        next(
            r
            for r in table
            if r["metric"] == "arm_difference" and {r["group"], r["comparator"]} == {"combined", "tace"}
        )
        for table in (rows, again)
    )
    assert (first["ci_low"], first["ci_high"]) == pytest.approx((other["ci_low"], other["ci_high"]), rel=1e-6)
    raw = [r["p"] for r in rows if not r["metric"].endswith("_holm")]
    assert [r["p"] for r in rows if r["metric"].endswith("_holm")] == pytest.approx(adjust(raw, "holm"))
    assert len(raw) == 12
    assert rows[-1]["ci_method"] == "Holm over 12"


def test_slopes_that_differ_between_rats_do_not_make_arms_differ() -> None:
    """Each rat has a course of its own: the test of slopes keeps its level of 5 %."""
    arm = np.repeat(np.where(np.arange(16) % 2, "treated", "control"), 4)
    week = np.tile(np.arange(4.0), 16)
    rejected = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        own, course = np.repeat(rng.standard_normal((2, 16)), 4, axis=1)
        y = own + course * week + rng.standard_normal(64)
        table = pd.DataFrame({"y": y, "arm": arm, "time": week}, index=cases(16, 4))
        p = slope_differences(table, ["control", "treated"])["treated", "control"].p
        assert p is not None
        rejected += p < 0.05
    assert 0.02 < rejected / 300 < 0.08


def test_a_rat_seen_at_one_time_has_a_level_and_no_slope() -> None:
    outcomes, arm, week = rats(effect=3.0, slope=1.0, seed=1)
    week.loc["S000"] = 2.0  # control, all scans in one week
    week.loc["S001"] = np.nan  # tace, no time known
    rows = arm_rows(outcomes, arm, ["control", "tace", "combined"], week)
    found = {(r["metric"], r["group"], r["comparator"]): r for r in rows}
    one, both = (found["arm_slope_difference", arm, "control"] for arm in ("combined", "tace"))
    assert (one["n"], one["reason"]) == (15, "subjects with fewer than two times, left out: 1")
    assert (both["n"], both["reason"]) == (14, "subjects with fewer than two times, left out: 2")
    slopes = [np.polyfit(range(4), outcomes.loc[f"S{i:03d}", "y"], 1)[0] for i in range(24)]
    assert one["value"] == pytest.approx(np.mean(slopes[2::3]) - np.mean(slopes[3::3]))
    assert found["arm_difference", "combined", "control"]["n"] == 23


def test_scans_of_one_rat_are_not_so_many_rats() -> None:
    """Under no difference, the mixed model keeps its level; a regression on scans does not."""
    wrong = mixed = 0
    for seed in range(20):
        outcomes, arm, week = rats(effect=0.0, slope=0.0, seed=seed, n=18, weeks=8)
        rows = arm_rows(outcomes, arm, ["control", "tace", "combined"], week)
        mixed += (
            next(
                r["p"]
                for r in rows
                if r["metric"] == "arm_difference" and r["group"] == "combined" and r["comparator"] == "control"
            )
            < 0.05
        )
        values = outcomes["y"].to_numpy()
        wrong += stats.ttest_ind(values[arm == "combined"], values[arm == "control"]).pvalue < 0.05
    assert mixed <= 3
    assert wrong >= 6


def test_one_measurement_each_is_compared_by_means() -> None:
    outcomes, arm, _ = rats(effect=2.0, slope=0.0, seed=3)
    found = arm_rows(outcomes, arm, ["control", "tace", "combined"], None)
    row = next(
        r
        for r in found
        if r["metric"] == "arm_difference" and r["group"] == "combined" and r["comparator"] == "control"
    )
    means = outcomes["y"].groupby(level="subject").mean()
    arms = arm.groupby(level="subject").first()
    expected = stats.ttest_ind(means[arms == "combined"], means[arms == "control"], equal_var=False)
    assert row["p"] == pytest.approx(expected.pvalue)
    assert row["value"] == pytest.approx(means[arms == "combined"].mean() - means[arms == "control"].mean())


def test_a_mixed_model_needs_repeated_measures() -> None:
    design = pd.DataFrame({"intercept": 1.0, "slope": np.arange(12.0)})
    found = fit_mixed(design, np.arange(12.0) ** 2, np.array([f"S{i}" for i in range(12)]))
    assert found["slope"].reason == "no patient was measured twice; least squares answers this"
    subjects = np.repeat([f"S{i}" for i in range(6)], 2)
    assert fit_mixed(design.assign(twice=design["slope"]), np.arange(12.0) ** 2, subjects)["slope"].value is None


def test_a_mixed_model_agrees_with_paired_differences() -> None:
    """In a balanced design with two times, the effect of time is the mean difference."""
    rng = np.random.default_rng(13)
    before, change = 5 * rng.standard_normal(15), 1 + 0.5 * rng.standard_normal(15)
    y = np.column_stack([before, before + change]).ravel()
    design = pd.DataFrame({"intercept": 1.0, "time": np.tile([0.0, 1.0], 15)})
    found = fit_mixed(design, y, np.repeat([f"S{i}" for i in range(15)], 2))["time"]
    assert found.value == pytest.approx(change.mean(), abs=1e-6)
    assert found.ci_high is not None and found.value is not None
    se = (found.ci_high - found.value) / stats.t.ppf(0.975, 13)
    assert se == pytest.approx(change.std(ddof=1) / np.sqrt(15), rel=1e-3)


@pytest.mark.parametrize("icc", [0.0, 0.05, 0.1, 0.2])
def test_little_variance_between_rats_is_neither_a_crash_nor_none(icc: float) -> None:
    """Four arms of eight rats, four weeks: in a balanced design the answer is that of the analysis of variance."""
    n, weeks, arms = 32, 4, np.arange(32) % 4
    week = np.tile(np.arange(weeks) - 1.5, n)
    arm = np.repeat(arms, weeks)
    design = pd.DataFrame(
        {f"arm {a}": (arm == a) * 1.0 for a in range(1, 4)} | {f"week {a}": (arm == a) * week for a in range(4)}
    )
    design.insert(0, "constant", 1.0)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        y = np.sqrt(icc) * rng.standard_normal((n, 1)) + np.sqrt(1 - icc) * rng.standard_normal((n, weeks))
        means = np.array([y[arms == a].mean() for a in range(4)])
        between = weeks * ((y.mean(axis=1) - means[arms]) ** 2).sum()
        slopes = np.array([np.polyfit(week[:weeks], y[arms == a].mean(axis=0), 1)[0] for a in range(4)])
        within = ((y - y.mean(axis=1, keepdims=True) - slopes[arms][:, None] * week[:weeks]) ** 2).sum()
        none = between / 28 <= within / 92
        square = (between + within) / 120 if none else between / 28
        found = fit_mixed(design, y.ravel(), np.repeat([f"S{i}" for i in range(n)], weeks))["arm 1"]
        assert found.value == pytest.approx(means[1] - means[0], abs=1e-6)
        assert found.value is not None and found.ci_high is not None
        se = (found.ci_high - found.value) / stats.t.ppf(0.975, 24)
        assert se == pytest.approx(np.sqrt(2 * square / 32), rel=1e-3), seed
        assert found.reason == ("no variance between patients" if none else ""), seed


def test_a_singular_likelihood_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from statsmodels.regression.mixed_linear_model import MixedLM

    def singular(*_: Any, **__: Any) -> None:
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr(MixedLM, "fit", singular)
    found = fit_mixed(pd.DataFrame({"constant": np.ones(12)}), np.arange(12.0), np.repeat(list("abcdef"), 2))
    assert found["constant"].value is None
    assert found["constant"].reason == "REML failed: Singular matrix"


# configuration and command ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("relate.cohorts", ["phantom-exd"], "did you mean 'phantom-ext'"),
        ("relate.signatures.radiomics.model", "radiomix", "unknown model 'radiomix'"),
        ("relate.signatures.texture.roi", "manuel", "unknown ROI 'manuel'"),
        ("relate.signatures.texture.model", "radiomics", "a signature has one source"),
        ("relate.signatures.deep", {"network": "radiomics"}, "unknown network 'radiomics'"),
        ("relate.signatures.radiomics.components", 2, "a model's score has no components"),
        ("relate.genes.adjust", ["sites"], "unknown column 'sites'"),
        ("relate.histology.adjust", ["arms"], "unknown column 'arms'"),
        ("relate.arms", {"column": "age"}, "unknown category 'age'"),
        ("relate.histology.regresion", "ols", "did you mean 'regression'"),
    ],
)
def test_a_wrong_configuration_is_told(key: str, value: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_config(changed(default_config(), key, value))


def write_study(root: Path, n: int = 24) -> dict[str, Any]:
    """Tables of one development cohort as the stages before write them; two subjects have no score."""
    rng = np.random.default_rng(21)
    names = [f"S{i:03d}" for i in range(n)]
    expression, signature = planted(n)
    subjects = pd.DataFrame(
        {"cohort": "dev", "subject": names, "session": "", "site": "A", "batch": "01", "role": "development"}
    )
    split = pd.DataFrame({"cohort": "dev", "subject": names, "role": "train", "repeat": 0, "fold": np.arange(n) % 3})
    scores = subjects[["cohort", "subject", "session"]].assign(
        model="m", kind="oof", y_prob=1 / (1 + np.exp(-signature.to_numpy())), risk=np.nan
    )
    scores.loc[:1, "y_prob"] = np.nan
    features = subjects[["cohort", "subject", "session"]].assign(a=signature.to_numpy(), b=rng.standard_normal(n))
    histology = pd.DataFrame({"subject": names, "viability": 50 + 10 * signature.to_numpy() + rng.standard_normal(n)})
    (root / "data").mkdir(parents=True)
    (root / "roi-r").mkdir()
    tables = {"subjects": subjects, "split": split, "m.predictions": scores, "roi-r/features": features}
    tables |= {"data/rna": expression.reset_index(), "data/histology": histology}
    for name, table in tables.items():
        table.to_csv(root / f"{name}.tsv", sep="\t", index=False)
    text = "".join("\t".join([name, "x", *genes]) + "\n" for name, genes in SETS.items())
    (root / "sets.gmt").write_text(text, encoding="utf-8")
    section = {
        "signatures": {"score": {"model": "m"}, "pca": {"roi": "r", "components": 1}},
        "genes": {"permutations": 300, "sets": "sets.gmt"},
        "histology": {"targets": ["viability"]},
    }
    return {"study": "s", "seed": 3, "columns": {}, "relate": check_section("relate", section)}


def test_the_commands_by_hand(tmp_path: Path) -> None:
    settings = write_study(tmp_path)
    common = ["--subjects", tmp_path / "subjects.tsv", "--split", tmp_path / "split.tsv", "--data", tmp_path / "data"]
    common += ["--predictions", tmp_path / "m.predictions.tsv", "--features", tmp_path / "roi-r/features.tsv"]
    common += ["--settings", json.dumps(settings)]
    assert main([*map(str, ["relate_fit", *common, "--out", tmp_path / "fit"])]) == 0
    last = ["--cohort", "dev", "--role", "development", "--fit", tmp_path / "fit", "--sets", tmp_path / "sets.gmt"]
    assert main([*map(str, ["relate", *common, *last, "--out", tmp_path / "one"])]) == 0
    metrics = pd.read_csv(tmp_path / "one/metrics.tsv", sep="\t")
    tested = metrics[metrics["metric"] == "genes_tested"].set_index("model")
    assert tested["n"].to_dict() == {"score": 22, "pca_pc1": 24}
    matching = pd.read_csv(tmp_path / "one/matching.tsv", sep="\t").set_index(["source", "signature"])
    assert matching.loc[("genes", "score"), "n_table_no_signature"] == 2
    sets = pd.read_csv(tmp_path / "one/enrichment.tsv", sep="\t")
    assert set(sets.loc[(sets["fdr"] <= 0.05) & (sets["signature"] == "score"), "set"]) == {"PLANTED"}
    for metric, method in (("genes_significant", np.nan), *(("sets_significant", m) for m in sets["method"].unique())):
        own, holm = (
            metrics[(metrics["metric"] == name) & metrics["comparator"].isin([method])].set_index("model")
            for name in (metric, f"{metric}_holm")
        )
        assert holm["p"].to_dict() == pytest.approx(dict(zip(own.index, adjust(list(own["p"]), "holm"), strict=True)))
        assert holm["value"].equals(own["value"])
        assert set(holm["ci_method"]) == {"Holm over 2"}
        assert ((own["p"] <= 0.05) == (own["value"] > 0)).all() or metric == "genes_significant"
    made = {path.name for path in (tmp_path / "one/figures").glob("*.png")}
    assert {"genes_dev_score.png", "heatmap_dev_score.png", "histology_dev.png"} <= made
    assert main([*map(str, ["relate", *common, *last, "--out", tmp_path / "two"])]) == 0
    for path in (tmp_path / "one").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes(), path.name


def test_a_cohort_without_tables_says_so(tmp_path: Path) -> None:
    settings = write_study(tmp_path)
    signatures = pd.DataFrame({"score": np.arange(24.0)}, index=cases(24))
    cohort = Cohort("dev", True, pd.DataFrame({"subject": [], "session": []}), signatures)
    metrics = relate(cohort, Frozen({}, {}, {}), frozenset(), {}, settings).metrics
    assert metrics["reason"].tolist() == ["the cohort has no rna.tsv", "the cohort has no histology.tsv"]
