"""Diagnosis: whether a posterior or a generator collapsed, by which evidence, and what to try."""

from uncollapse.diagnosis.critic_evidence import CriticEvidence, critic_evidence, game_evidence
from uncollapse.diagnosis.mode_collapse import SampleDiagnosis, diagnose_samples
from uncollapse.diagnosis.mode_coverage import KnownModes, ModeCoverage, mode_coverage
from uncollapse.diagnosis.mode_remedies import mode_remedies
from uncollapse.diagnosis.mode_verdict import ModeCollapseThresholds
from uncollapse.diagnosis.model_kinds import ModelKind, diagnose, kind_of, register
from uncollapse.diagnosis.no_code import no_code
from uncollapse.diagnosis.posterior_collapse import Diagnosis, diagnose_posterior
from uncollapse.diagnosis.posterior_remedies import posterior_remedies
from uncollapse.diagnosis.posterior_verdict import Thresholds
from uncollapse.diagnosis.prior_gap import prior_gap
from uncollapse.diagnosis.reference_codes import Reference
from uncollapse.diagnosis.remedy import Option, Remedy
from uncollapse.diagnosis.sample_evidence import Measure, sample_evidence

__all__ = [
    "CriticEvidence",
    "Diagnosis",
    "KnownModes",
    "Measure",
    "ModeCollapseThresholds",
    "ModeCoverage",
    "ModelKind",
    "Option",
    "Reference",
    "Remedy",
    "SampleDiagnosis",
    "Thresholds",
    "critic_evidence",
    "diagnose",
    "diagnose_posterior",
    "diagnose_samples",
    "game_evidence",
    "kind_of",
    "mode_coverage",
    "mode_remedies",
    "no_code",
    "posterior_remedies",
    "prior_gap",
    "register",
    "sample_evidence",
]
