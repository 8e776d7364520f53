# Evaluation of classifiers and GANs after every task.


rule evaluate:
    """Measure a classifier's accuracy on the test images of every task so far."""
    input:
        unpack(files_of("evaluate")),
    output:
        accuracy=f"{JOBS}/evaluate/accuracy.csv",
        confusion=f"{JOBS}/evaluate/confusion.csv",
    log:
        log_of_job(f"{JOBS}/evaluate/log.txt"),
    benchmark:
        f"{JOBS}/evaluate/benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: RUN.runtime.threads
    resources:
        device=LAYOUT.evaluation_device,
        options=LAYOUT.runtime_options,
    params:
        settings=settings_of("evaluate"),
        folder=subpath(output.accuracy, parent=True),
    shell:
        """
        python -m genifer --log {log:q} evaluate \
            --method {wildcards.group} \
            --seed {wildcards.seed} \
            --device {resources.device} \
            --runtime {resources.options:q} \
            --settings {params.settings:q} \
            --classifier {input.classifier:q} \
            --output {params.folder:q} \
            {input.data:q}
        """


rule evaluate_replay:
    """Compare a GAN's replay with real images."""
    input:
        unpack(files_of("evaluate_replay")),
    output:
        replay=f"{JOBS}/evaluate_replay/replay.csv",
        nearest=f"{JOBS}/evaluate_replay/nearest.safetensors",
    log:
        log_of_job(f"{JOBS}/evaluate_replay/log.txt"),
    benchmark:
        f"{JOBS}/evaluate_replay/benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: RUN.runtime.threads
    resources:
        device=LAYOUT.evaluation_device,
        options=LAYOUT.runtime_options,
    params:
        settings=settings_of("evaluate_replay"),
        checkpoints=checkpoints_of("evaluate_replay"),
        folder=subpath(output.replay, parent=True),
    shell:
        """
        python -m genifer --log {log:q} evaluate-replay \
            --method {wildcards.group} \
            --seed {wildcards.seed} \
            --device {resources.device} \
            --runtime {resources.options:q} \
            --settings {params.settings:q} \
            {params.checkpoints:q} \
            --output {params.folder:q} \
            {input.data:q}
        """
