# Training: classifier and GAN of the first task, then each method task by task.
# Options that change no results are resources, not params, so changing them reruns nothing.


rule train_gan:
    """Train a network and write its checkpoint."""
    input:
        unpack(files_of("train_gan")),
    output:
        checkpoint=f"{JOBS}/train_gan/gan.safetensors",
        metrics=f"{JOBS}/train_gan/metrics.csv",
    log:
        log_of_job(f"{JOBS}/train_gan/log.txt"),
    benchmark:
        f"{JOBS}/train_gan/benchmark.tsv"
    # The longest chain of trainings goes first.
    priority: 1
    conda:
        "../../environment.yml"
    threads: RUN.runtime.threads
    resources:
        gpu=LAYOUT.gpus_per_training,
        # On a cluster: all GPUs on one node, where the training starts its processes.
        nodes=1,
        device=RUN.runtime.device,
        options=LAYOUT.runtime_options,
    params:
        command="train-gan",
        settings=settings_of("train_gan"),
        checkpoints=checkpoints_of("train_gan"),
        folder=subpath(output.checkpoint, parent=True),
    shell:
        """
        python -m genifer --log {log:q} {params.command} \
            --seed {wildcards.seed} \
            --device {resources.device} \
            --runtime {resources.options:q} \
            --settings {params.settings:q} \
            {params.checkpoints:q} \
            --output {params.folder:q} \
            {input.data:q}
        """


# All other trainings differ only in their files.
if RUN.start.classifier is None:

    use rule train_gan as pretrain_classifier with:
        input:
            unpack(files_of("pretrain_classifier")),
        output:
            checkpoint=f"{JOBS}/pretrain_classifier/classifier.safetensors",
            metrics=f"{JOBS}/pretrain_classifier/metrics.csv",
        log:
            log_of_job(f"{JOBS}/pretrain_classifier/log.txt"),
        benchmark:
            f"{JOBS}/pretrain_classifier/benchmark.tsv"
        params:
            command="pretrain-classifier",
            settings=settings_of("pretrain_classifier"),
            checkpoints=checkpoints_of("pretrain_classifier"),
            folder=subpath(output.checkpoint, parent=True),

else:

    rule use_classifier:
        """Use a classifier from elsewhere instead of the first training."""
        input:
            unpack(files_of("pretrain_classifier")),
        output:
            checkpoint=f"{JOBS}/pretrain_classifier/classifier.safetensors",
        log:
            log_of_job(f"{JOBS}/pretrain_classifier/log.txt"),
        benchmark:
            f"{JOBS}/pretrain_classifier/benchmark.tsv"
        conda:
            "../../environment.yml"
        params:
            settings=LAYOUT.settings_json("use_checkpoint"),
        shell:
            """
            python -m genifer --log {log:q} use-checkpoint \
                --classifier {input.given:q} \
                --settings {params.settings:q} \
                --output {output.checkpoint:q} \
                {input.data:q}
            """


if RUN.start.gan is None:

    use rule train_gan as pretrain_gan with:
        input:
            unpack(files_of("pretrain_gan")),
        output:
            checkpoint=f"{JOBS}/pretrain_gan/gan.safetensors",
            metrics=f"{JOBS}/pretrain_gan/metrics.csv",
        log:
            log_of_job(f"{JOBS}/pretrain_gan/log.txt"),
        benchmark:
            f"{JOBS}/pretrain_gan/benchmark.tsv"
        params:
            command="pretrain-gan",
            settings=settings_of("pretrain_gan"),
            checkpoints=checkpoints_of("pretrain_gan"),
            folder=subpath(output.checkpoint, parent=True),

else:

    rule use_gan:
        """Use a GAN from elsewhere instead of the first training."""
        input:
            unpack(files_of("pretrain_gan")),
        output:
            checkpoint=f"{JOBS}/pretrain_gan/gan.safetensors",
        log:
            log_of_job(f"{JOBS}/pretrain_gan/log.txt"),
        benchmark:
            f"{JOBS}/pretrain_gan/benchmark.tsv"
        conda:
            "../../environment.yml"
        params:
            settings=settings_of("pretrain_gan"),
        shell:
            """
            python -m genifer --log {log:q} use-checkpoint \
                --gan {input.given:q} \
                --settings {params.settings:q} \
                --output {output.checkpoint:q} \
                {input.data:q}
            """


# Learning a task, one rule per method of the run.
for method in LAYOUT.methods:
    job = f"train_{method}"

    rule:
        name:
            job
        input:
            unpack(files_of(job)),
        output:
            checkpoint=f"{JOBS}/{job}/classifier.safetensors",
            metrics=f"{JOBS}/{job}/metrics.csv",
        log:
            log_of_job(f"{JOBS}/{job}/log.txt"),
        benchmark:
            f"{JOBS}/{job}/benchmark.tsv"
        priority: LAYOUT.priority(job)
        conda:
            "../../environment.yml"
        threads: RUN.runtime.threads
        resources:
            gpu=LAYOUT.gpus_per_training,
            nodes=1,
            device=RUN.runtime.device,
            options=LAYOUT.runtime_options,
        params:
            method=method,
            settings=settings_of(job),
            checkpoints=checkpoints_of(job),
            folder=subpath(output.checkpoint, parent=True),
        shell:
            """
            python -m genifer --log {log:q} train {params.method} \
                --seed {wildcards.seed} \
                --device {resources.device} \
                --runtime {resources.options:q} \
                --settings {params.settings:q} \
                {params.checkpoints:q} \
                --output {params.folder:q} \
                {input.data:q}
            """
