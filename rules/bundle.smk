# One folder with all that is needed to use the result elsewhere.
#
# INPUTS   results/{model}/onnx/stablequant.onnx, engines/{backend}/stablequant/, checkpoint/ (its front end), scales,
#          sensitivity.tsv, percentiles.tsv, comparison.tsv, evaluation/{backend}/stablequant.tsv, utterances/ of both splits
# OUTPUTS  results/{model}/bundle/   the graph, engines, front end, samples, quantization.json, README.md; laid out so that other
#                                    programs open it (docs/how-to/other-programs.md)

from dataclasses import asdict

SETTINGS_OF_THE_SEARCH = (
    "calibration_seconds",
    "threshold",
    "percentiles",
    "unrecovered",
    "precision",
    "search",
    "seed",
)


rule write_bundle:
    """Gather all that is needed to use the quantized recogniser elsewhere."""
    input:
        graph="results/{model}/onnx/stablequant.onnx",
        engines=of_each_engine("results/{model}/engines/{backend}/{method}", "stablequant"),
        hypotheses=of_each_engine("results/{model}/evaluation/{backend}/{method}.tsv", "stablequant"),
        checkpoint="results/{model}/checkpoint",
        scales="results/{model}/scales/stablequant.json",
        sensitivity="results/{model}/sensitivity.tsv",
        percentiles="results/{model}/percentiles.tsv",
        comparison="results/{model}/comparison.tsv",
        calibration="results/{model}/utterances/calibration.tsv",
        utterances="results/{model}/utterances/evaluation.tsv",
    output:
        directory("results/{model}/bundle"),
    log:
        "logs/{model}/write_bundle.log",
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        samples=lambda wildcards: SAMPLES[wildcards.model],
        note=lambda wildcards: config["models"][wildcards.model].get("note", ""),
        acceptable_loss=config["acceptable_loss"],
        settings=lambda wildcards: {
            **asdict(procedure(wildcards)),
            **{key: config[key] for key in SETTINGS_OF_THE_SEARCH},
            "racing": config["racing"] if CONFIDENCE else None,
            "screening": config["screening"] if IS_SCREENED else None,
        },
        code=code_digest("write_bundle"),
    script:
        "../scripts/write_bundle.py"
