# Training: the first task, then genifer and its bounds task by task.


if RUN.start.classifier is not None:

    rule use_classifier:
        """Take a classifier from elsewhere in place of the first training."""
        input:
            classifier=given(RUN.start.classifier),
            data=images_of("train", [0]),
        output:
            classifier=FIRST_CLASSIFIER,
        log:
            f"{FIRST_TASK}/pretrain_classifier/log.txt",
        benchmark:
            f"{FIRST_TASK}/pretrain_classifier/benchmark.tsv"
        conda:
            "../../environment.yml"
        params:
            settings=settings_of("use_checkpoint"),
        shell:
            """
            python -m genifer use-checkpoint \
                --classifier {input.classifier:q} \
                --data {input.data:q} \
                --output {output.classifier:q} \
                --settings {params.settings:q} \
                2>&1 | tee {log:q}
            """

else:

    rule pretrain_classifier:
        """Train the classifier on the first task; all methods share it."""
        input:
            data=images_of("train", [0]),
            pretrained=given(RUN.classifier.pretrained),
        output:
            classifier=FIRST_CLASSIFIER,
            metrics=f"{FIRST_TASK}/pretrain_classifier/metrics.csv",
        log:
            f"{FIRST_TASK}/pretrain_classifier/log.txt",
        benchmark:
            f"{FIRST_TASK}/pretrain_classifier/benchmark.tsv"
        priority: 1
        conda:
            "../../environment.yml"
        threads: THREADS
        resources:
            gpu=GPU,
            device=DEVICE,
            compile=COMPILE,
            resume_every=RESUME_EVERY,
            trackers=TRACKERS,
        params:
            settings=settings_of("pretrain_classifier"),
            folder=subpath(output.classifier, parent=True),
        shell:
            """
            python -m genifer pretrain-classifier --seed {wildcards.seed} --device {resources.device} --compile {resources.compile} --resume-every {resources.resume_every} --trackers {resources.trackers} \
                --data {input.data:q} \
                --output {params.folder:q} \
                --settings {params.settings:q} \
                2>&1 | tee {log:q}
            """


if RUN.start.gan is not None:

    rule use_gan:
        """Take a GAN from elsewhere in place of the first training."""
        input:
            gan=given(RUN.start.gan),
            data=images_of("train", [0]),
        output:
            gan=FIRST_GAN,
        log:
            f"{FIRST_TASK}/pretrain_gan/log.txt",
        benchmark:
            f"{FIRST_TASK}/pretrain_gan/benchmark.tsv"
        conda:
            "../../environment.yml"
        params:
            settings=settings_of("use_checkpoint"),
        shell:
            """
            python -m genifer use-checkpoint \
                --gan {input.gan:q} \
                --data {input.data:q} \
                --output {output.gan:q} \
                --settings {params.settings:q} \
                2>&1 | tee {log:q}
            """

else:

    rule pretrain_gan:
        """Train the GAN on the first task, against the classifier's features."""
        input:
            data=images_of("train", [0]),
            classifier=FIRST_CLASSIFIER,
        output:
            gan=FIRST_GAN,
            metrics=f"{FIRST_TASK}/pretrain_gan/metrics.csv",
        log:
            f"{FIRST_TASK}/pretrain_gan/log.txt",
        benchmark:
            f"{FIRST_TASK}/pretrain_gan/benchmark.tsv"
        priority: 1
        conda:
            "../../environment.yml"
        threads: THREADS
        resources:
            gpu=GPU,
            device=DEVICE,
            compile=COMPILE,
            resume_every=RESUME_EVERY,
            trackers=TRACKERS,
            collapse_limit=COLLAPSE_LIMIT,
        params:
            settings=settings_of("pretrain_gan"),
            folder=subpath(output.gan, parent=True),
        shell:
            """
            python -m genifer pretrain-gan --seed {wildcards.seed} --device {resources.device} --compile {resources.compile} --resume-every {resources.resume_every} --trackers {resources.trackers} \
                --collapse-limit {resources.collapse_limit} \
                --data {input.data:q} \
                --classifier {input.classifier:q} \
                --output {params.folder:q} \
                --settings {params.settings:q} \
                2>&1 | tee {log:q}
            """


rule train_genifer:
    """Train the classifier on a later task's images and on replayed ones."""
    input:
        data=images_of_task,
        old_classifier=previous_classifier("genifer"),
        old_gan=previous_gan,
    output:
        classifier=f"{next_task('genifer')}/train_genifer/classifier.safetensors",
        metrics=f"{next_task('genifer')}/train_genifer/metrics.csv",
    log:
        f"{next_task('genifer')}/train_genifer/log.txt",
    benchmark:
        f"{next_task('genifer')}/train_genifer/benchmark.tsv"
    priority: 1
    conda:
        "../../environment.yml"
    threads: THREADS
    resources:
        gpu=GPU,
        device=DEVICE,
        compile=COMPILE,
        resume_every=RESUME_EVERY,
        trackers=TRACKERS,
    params:
        settings=settings_of("train_genifer"),
        folder=subpath(output.classifier, parent=True),
    shell:
        """
        python -m genifer train-genifer --seed {wildcards.seed} --device {resources.device} --compile {resources.compile} --resume-every {resources.resume_every} --trackers {resources.trackers} \
            --data {input.data:q} \
            --old-classifier {input.old_classifier:q} \
            --old-gan {input.old_gan:q} \
            --output {params.folder:q} \
            --settings {params.settings:q} \
            2>&1 | tee {log:q}
        """


rule train_gan:
    """Train the GAN on to a later task's classes."""
    input:
        data=images_of_task,
        classifier=rules.train_genifer.output.classifier,
        old_gan=previous_gan,
    output:
        gan=f"{next_task('genifer')}/train_gan/gan.safetensors",
        metrics=f"{next_task('genifer')}/train_gan/metrics.csv",
    log:
        f"{next_task('genifer')}/train_gan/log.txt",
    benchmark:
        f"{next_task('genifer')}/train_gan/benchmark.tsv"
    priority: 1
    conda:
        "../../environment.yml"
    threads: THREADS
    resources:
        gpu=GPU,
        device=DEVICE,
        compile=COMPILE,
        resume_every=RESUME_EVERY,
        trackers=TRACKERS,
        collapse_limit=COLLAPSE_LIMIT,
    params:
        settings=settings_of("train_gan"),
        folder=subpath(output.gan, parent=True),
    shell:
        """
        python -m genifer train-gan --seed {wildcards.seed} --device {resources.device} --compile {resources.compile} --resume-every {resources.resume_every} --trackers {resources.trackers} \
            --collapse-limit {resources.collapse_limit} \
            --data {input.data:q} \
            --classifier {input.classifier:q} \
            --old-gan {input.old_gan:q} \
            --output {params.folder:q} \
            --settings {params.settings:q} \
            2>&1 | tee {log:q}
        """


rule train_finetune:
    """Lower bound: train the classifier on a later task's images only."""
    input:
        data=images_of_task,
        old_classifier=previous_classifier("finetune"),
    output:
        classifier=f"{next_task('finetune')}/train_finetune/classifier.safetensors",
        metrics=f"{next_task('finetune')}/train_finetune/metrics.csv",
    log:
        f"{next_task('finetune')}/train_finetune/log.txt",
    benchmark:
        f"{next_task('finetune')}/train_finetune/benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: THREADS
    resources:
        gpu=GPU,
        device=DEVICE,
        compile=COMPILE,
        resume_every=RESUME_EVERY,
        trackers=TRACKERS,
    params:
        settings=settings_of("train_finetune"),
        folder=subpath(output.classifier, parent=True),
    shell:
        """
        python -m genifer train-finetune --seed {wildcards.seed} --device {resources.device} --compile {resources.compile} --resume-every {resources.resume_every} --trackers {resources.trackers} \
            --data {input.data:q} \
            --old-classifier {input.old_classifier:q} \
            --output {params.folder:q} \
            --settings {params.settings:q} \
            2>&1 | tee {log:q}
        """


rule train_joint:
    """Upper bound: train the classifier on the images of all tasks so far."""
    input:
        data=images_so_far,
        old_classifier=previous_classifier("joint"),
    output:
        classifier=f"{next_task('joint')}/train_joint/classifier.safetensors",
        metrics=f"{next_task('joint')}/train_joint/metrics.csv",
    log:
        f"{next_task('joint')}/train_joint/log.txt",
    benchmark:
        f"{next_task('joint')}/train_joint/benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: THREADS
    resources:
        gpu=GPU,
        device=DEVICE,
        compile=COMPILE,
        resume_every=RESUME_EVERY,
        trackers=TRACKERS,
    params:
        settings=settings_of("train_joint"),
        folder=subpath(output.classifier, parent=True),
        data=lambda wildcards, input: repeated("--data", input.data),
    shell:
        """
        python -m genifer train-joint --seed {wildcards.seed} --device {resources.device} --compile {resources.compile} --resume-every {resources.resume_every} --trackers {resources.trackers} \
            {params.data} \
            --old-classifier {input.old_classifier:q} \
            --output {params.folder:q} \
            --settings {params.settings:q} \
            2>&1 | tee {log:q}
        """
