# The engines judged on audio that calibrated nothing.
#
# INPUTS   results/{model}/engines/{backend}/{method}/, utterances/evaluation.tsv
# OUTPUTS  results/{model}/evaluation/{backend}/{method}.json   status, WER, errors by utterance, seconds
#          results/{model}/evaluation/{backend}/{method}.tsv    utterance, transcript, hypothesis
#          results/{model}/timing/{backend}.tsv                 speeds of the engines, which took turns
#          results/{model}/hypotheses.tsv                       utterances that quantization changed, the words marked
#          results/{model}/comparison.tsv                       one row per backend and method


rule evaluate_engine:
    """Recognise the evaluation set with one engine, on all cores."""
    input:
        engine="results/{model}/engines/{backend}/{method}",
        utterances="results/{model}/utterances/evaluation.tsv",
    output:
        result="results/{model}/evaluation/{backend}/{method}.json",
        hypotheses="results/{model}/evaluation/{backend}/{method}.tsv",
    log:
        "logs/{model}/evaluate_engine/{backend}/{method}.log",
    benchmark:
        "results/{model}/benchmarks/evaluate_engine/{backend}/{method}.tsv"
    conda:
        "../envs/engines.yaml"
    threads: cores_to_judge_on  # asked when a job needs it: a cluster's profile says its own number
    resources:
        mem_mb=memory(copies=2),
        runtime=runtime(passes=1),
        gpu=gpu_to_run,
    params:
        batch_mb=config["batch_mb"],
        here=gpu_here,
        code=code_digest("evaluate_engine"),
    script:
        "../scripts/evaluate_engine.py"


rule time_engines:
    """Time the engines of one backend, which take turns, alone on the machine."""
    input:
        engines=lambda wildcards: expand(
            f"results/{wildcards.model}/engines/{wildcards.backend}/{{method}}", method=METHODS[wildcards.model]
        ),
        utterances="results/{model}/utterances/evaluation.tsv",
    output:
        "results/{model}/timing/{backend}.tsv",
    log:
        "logs/{model}/time_engines/{backend}.log",
    benchmark:
        "results/{model}/benchmarks/time_engines/{backend}.tsv"
    conda:
        "../envs/engines.yaml"
    threads: lambda wildcards: workflow.cores
    resources:
        mem_mb=memory(copies=lambda model: 4 + len(METHODS[model]) // 2),  # fp32 twice, and the quantized engines
        runtime=runtime_of_timing,
        gpu=gpu_to_run,
    params:
        here=gpu_here,
        audio_seconds=config["timing"]["audio_seconds"],
        rounds=config["timing"]["rounds"],
        seed=config["seed"],
        code=code_digest("time_engines"),
    script:
        "../scripts/time_engines.py"


rule compare:
    """Join all evaluations of a model into one table."""
    input:
        timings=lambda wildcards: expand(
            f"results/{wildcards.model}/timing/{{backend}}.tsv", backend=ENGINES[wildcards.model]
        ),
        evaluations=of_each_engine("results/{model}/evaluation/{backend}/{method}.json"),
        calibration="results/{model}/utterances/calibration.tsv",
        evaluation="results/{model}/utterances/evaluation.tsv",
    output:
        "results/{model}/comparison.tsv",
    log:
        "logs/{model}/compare.log",
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        seed=config["seed"],
        code=code_digest("compare"),
    script:
        "../scripts/compare.py"


rule compare_hypotheses:
    """Set the hypotheses that quantization changed side by side with those of fp32."""
    input:
        of_each_engine("results/{model}/evaluation/{backend}/{method}.tsv"),
    output:
        "results/{model}/hypotheses.tsv",
    log:
        "logs/{model}/compare_hypotheses.log",
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        code=code_digest("compare_hypotheses"),
    script:
        "../scripts/compare_hypotheses.py"
