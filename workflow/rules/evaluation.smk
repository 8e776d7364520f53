# Evaluation after every task, the run's tables and its plots.


rule evaluate_first_task:
    """Evaluate the classifier that all methods share."""
    input:
        classifier=FIRST_CLASSIFIER,
        data=first_evaluated_images(),
    output:
        accuracy=f"{FIRST_TASK}/evaluate/accuracy.csv",
        confusion=f"{FIRST_TASK}/evaluate/confusion.csv",
    log:
        f"{FIRST_TASK}/evaluate/log.txt",
    benchmark:
        f"{FIRST_TASK}/evaluate/benchmark.tsv"
    conda:
        "../../environment.yml"
    resources:
        device=DEVICE,
    params:
        settings=settings_of("evaluate"),
        folder=subpath(output.accuracy, parent=True),
        data=repeated("--data", first_evaluated_images()),
    shell:
        """
        python -m genifer evaluate --method first_task --seed {wildcards.seed} --device {resources.device} \
            --classifier {input.classifier:q} \
            {params.data} \
            --output {params.folder:q} \
            --settings {params.settings:q} \
            2>&1 | tee {log:q}
        """


rule evaluate:
    """Evaluate a method on the test images of every task so far."""
    input:
        classifier=classifier_of_task,
        data=evaluated_images,
    output:
        accuracy=f"{NEXT_TASK}/evaluate/accuracy.csv",
        confusion=f"{NEXT_TASK}/evaluate/confusion.csv",
    log:
        f"{NEXT_TASK}/evaluate/log.txt",
    benchmark:
        f"{NEXT_TASK}/evaluate/benchmark.tsv"
    conda:
        "../../environment.yml"
    resources:
        device=DEVICE,
    params:
        settings=settings_of("evaluate"),
        folder=subpath(output.accuracy, parent=True),
        data=lambda wildcards, input: repeated("--data", input.data),
    shell:
        """
        python -m genifer evaluate --method {wildcards.method} --seed {wildcards.seed} --device {resources.device} \
            --classifier {input.classifier:q} \
            {params.data} \
            --output {params.folder:q} \
            --settings {params.settings:q} \
            2>&1 | tee {log:q}
        """


rule evaluate_replay_first_task:
    """Compare what the first GAN replays with real images."""
    input:
        gan=FIRST_GAN,
        classifier=FIRST_CLASSIFIER,
        training_data=images_of("train", range(FIRST + 1)),
        data=first_evaluated_images(),
    output:
        replay=f"{FIRST_TASK}/evaluate_replay/replay.csv",
        nearest=f"{FIRST_TASK}/evaluate_replay/nearest.safetensors",
    log:
        f"{FIRST_TASK}/evaluate_replay/log.txt",
    benchmark:
        f"{FIRST_TASK}/evaluate_replay/benchmark.tsv"
    conda:
        "../../environment.yml"
    resources:
        device=DEVICE,
    params:
        settings=settings_of("evaluate_replay"),
        folder=subpath(output.replay, parent=True),
        training_data=lambda wildcards, input: repeated(
            "--training-data", input.training_data
        ),
        data=lambda wildcards, input: repeated("--data", input.data),
    shell:
        """
        python -m genifer evaluate-replay --seed {wildcards.seed} --device {resources.device} \
            --gan {input.gan:q} \
            --classifier {input.classifier:q} \
            {params.training_data} \
            {params.data} \
            --output {params.folder:q} \
            --settings {params.settings:q} \
            2>&1 | tee {log:q}
        """


rule evaluate_replay:
    """Compare what a later task's GAN replays with real images."""
    input:
        gan=gan_of_task,
        classifier=gan_classifier,
        training_data=images_so_far,
        data=evaluated_images,
    output:
        replay=f"{next_task('genifer')}/evaluate_replay/replay.csv",
        nearest=f"{next_task('genifer')}/evaluate_replay/nearest.safetensors",
    log:
        f"{next_task('genifer')}/evaluate_replay/log.txt",
    benchmark:
        f"{next_task('genifer')}/evaluate_replay/benchmark.tsv"
    conda:
        "../../environment.yml"
    resources:
        device=DEVICE,
    params:
        settings=settings_of("evaluate_replay"),
        folder=subpath(output.replay, parent=True),
        training_data=lambda wildcards, input: repeated(
            "--training-data", input.training_data
        ),
        data=lambda wildcards, input: repeated("--data", input.data),
    shell:
        """
        python -m genifer evaluate-replay --seed {wildcards.seed} --device {resources.device} \
            --gan {input.gan:q} \
            --classifier {input.classifier:q} \
            {params.training_data} \
            {params.data} \
            --output {params.folder:q} \
            --settings {params.settings:q} \
            2>&1 | tee {log:q}
        """


rule tabulate:
    """Collect the evaluations of all methods, seeds and tasks."""
    input:
        evaluations=tables_of_evaluations(),
    output:
        accuracy=f"{RESULTS}/accuracy.csv",
        summary=f"{RESULTS}/summary.csv",
        confusion=f"{RESULTS}/confusion.csv",
        metrics=metrics_of_methods(),
    log:
        f"{RESULTS}/logs/tabulate.log",
    benchmark:
        f"{RESULTS}/logs/tabulate.benchmark.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings_of("tabulate"),
        folder=subpath(output.accuracy, parent=True),
        methods=repeated("--method", RUN.methods),
        evaluations=repeated("--evaluation", evaluations()),
    shell:
        """
        python -m genifer tabulate {params.methods} {params.evaluations} \
            --output {params.folder:q} \
            2>&1 | tee {log:q}
        """


rule tabulate_replay:
    """Collect the comparisons of replayed and real images of all GANs."""
    input:
        evaluations=replay_evaluations(),
    output:
        replay=f"{RESULTS}/replay.csv",
    log:
        f"{RESULTS}/logs/tabulate_replay.log",
    benchmark:
        f"{RESULTS}/logs/tabulate_replay.benchmark.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings_of("tabulate_replay"),
        evaluations=repeated("--evaluation", replay_evaluations()),
    shell:
        """
        python -m genifer tabulate-replay {params.evaluations} \
            --output {output.replay:q} \
            2>&1 | tee {log:q}
        """


rule tabulate_training:
    """Collect the metrics of all trainings."""
    input:
        metrics=training_metrics(),
    output:
        training=f"{RESULTS}/training.csv",
    log:
        f"{RESULTS}/logs/tabulate_training.log",
    benchmark:
        f"{RESULTS}/logs/tabulate_training.benchmark.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings_of("tabulate_training"),
        metrics=repeated("--metrics", training_metrics()),
    shell:
        """
        python -m genifer tabulate-training {params.metrics} \
            --output {output.training:q} \
            2>&1 | tee {log:q}
        """


rule plot_accuracy:
    """Draw accuracy over classes, and each method's accuracy and confusion matrix."""
    input:
        accuracy=rules.tabulate.output.accuracy,
        confusion=rules.tabulate.output.confusion,
        published=given(RUN.plots.published),
    output:
        plots("accuracy", shown=in_report("accuracy", "Accuracy", method="all")),
        plots_of_methods("accuracy_matrix", "Accuracy"),
        plots_of_methods("confusion", "Accuracy"),
    log:
        f"{RESULTS}/logs/plot_accuracy.log",
    benchmark:
        f"{RESULTS}/logs/plot_accuracy.benchmark.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings_of("plot"),
        folder=subpath(output[0], parent=True),
    shell:
        """
        python -m genifer plot-accuracy \
            --accuracy {input.accuracy:q} \
            --confusion {input.confusion:q} \
            --output {params.folder:q} \
            --settings {params.settings:q} \
            2>&1 | tee {log:q}
        """


rule plot_forgetting:
    """Draw what is forgotten: of each task, and the ten worst classes of each method."""
    input:
        accuracy=rules.tabulate.output.accuracy,
        confusion=rules.tabulate.output.confusion,
        data=images_of(EVALUATED, TASKS),
    output:
        plots("forgetting", shown=in_report("forgetting", "Forgetting", method="all")),
        plots_of_methods("forgotten_classes", "Forgetting"),
    log:
        f"{RESULTS}/logs/plot_forgetting.log",
    benchmark:
        f"{RESULTS}/logs/plot_forgetting.benchmark.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings_of("plot"),
        folder=subpath(output[0], parent=True),
        data=repeated("--data", images_of(EVALUATED, TASKS)),
    shell:
        """
        python -m genifer plot-forgetting \
            --accuracy {input.accuracy:q} \
            --confusion {input.confusion:q} \
            {params.data} \
            --output {params.folder:q} \
            --settings {params.settings:q} \
            2>&1 | tee {log:q}
        """


rule plot_palettes:
    """Draw what a GAN replays beside real images, and what lies nearest to a training image."""
    input:
        gan=gan_of_task,
        old_gan=old_gan,
        classifier=gan_classifier,
        nearest=lambda wildcards: f"{replay_evaluation(wildcards.seed, wildcards.task)}/nearest.safetensors",
        data=evaluated_images,
    output:
        plots(
            "replay_seed_{seed}_task_{task}",
            shown=in_report("replay", "Replay", GAN="seed {seed}, task {task}"),
        ),
        plots(
            "nearest_seed_{seed}_task_{task}",
            shown=in_report("nearest", "Replay", GAN="seed {seed}, task {task}"),
        ),
    log:
        f"{RESULTS}/logs/plot_palettes_seed_{{seed}}_task_{{task}}.log",
    benchmark:
        f"{RESULTS}/logs/plot_palettes_seed_{{seed}}_task_{{task}}.benchmark.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings_of("plot"),
        folder=subpath(output[0], parent=True),
        old_gan=lambda wildcards, input: repeated(
            "--old-gan", input.get("old_gan") and [input.old_gan] or []
        ),
        data=lambda wildcards, input: repeated("--data", input.data),
    shell:
        """
        python -m genifer plot-palettes --seed {wildcards.seed} \
            --gan {input.gan:q} {params.old_gan} \
            --classifier {input.classifier:q} \
            --nearest {input.nearest:q} \
            {params.data} \
            --output {params.folder:q} \
            --settings {params.settings:q} \
            2>&1 | tee {log:q}
        """


if gan_tasks():

    rule plot_replay:
        """Draw how good the replay is, class by class and over the generations of the GAN."""
        input:
            replay=rules.tabulate_replay.output.replay,
        output:
            plots(
                "replay_agreement",
                shown=in_report("replay_agreement", "Replay", GAN="all"),
            ),
            plots(
                "replay_frechet",
                shown=in_report("replay_frechet", "Replay", GAN="all"),
            ),
        log:
            f"{RESULTS}/logs/plot_replay.log",
        benchmark:
            f"{RESULTS}/logs/plot_replay.benchmark.tsv"
        conda:
            "../../environment.yml"
        params:
            settings=settings_of("plot"),
            folder=subpath(output[0], parent=True),
        shell:
            """
            python -m genifer plot-replay \
                --replay {input.replay:q} \
                --output {params.folder:q} \
                --settings {params.settings:q} \
                2>&1 | tee {log:q}
            """


if training_plots():

    rule plot_training:
        """Draw the training curves: a picture a stage, a line a training."""
        input:
            training=rules.tabulate_training.output.training,
        output:
            plots_of_trainings(),
        log:
            f"{RESULTS}/logs/plot_training.log",
        benchmark:
            f"{RESULTS}/logs/plot_training.benchmark.tsv"
        conda:
            "../../environment.yml"
        params:
            settings=settings_of("plot"),
            folder=subpath(output[0], parent=True),
        shell:
            """
            python -m genifer plot-training \
                --training {input.training:q} \
                --output {params.folder:q} \
                --settings {params.settings:q} \
                2>&1 | tee {log:q}
            """


rule tabulate_costs:
    """Collect what each job took: time, memory, machine."""
    input:
        # The notes of the jobs are no outputs: what they made is, and is there when they have ended.
        tables_of_evaluations(),
        training_metrics(),
        replay_evaluations(),
    output:
        costs=f"{RESULTS}/costs.csv",
    log:
        f"{RESULTS}/logs/tabulate_costs.log",
    benchmark:
        f"{RESULTS}/logs/tabulate_costs.benchmark.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings_of("tabulate_costs"),
        jobs=repeated("--job", jobs()),
    shell:
        """
        python -m genifer tabulate-costs {params.jobs} \
            --output {output.costs:q} \
            2>&1 | tee {log:q}
        """


rule plot_costs:
    """Draw where the time went: a bar a stage."""
    input:
        costs=rules.tabulate_costs.output.costs,
    output:
        plots("costs", shown=in_report("costs", "Run")),
    log:
        f"{RESULTS}/logs/plot_costs.log",
    benchmark:
        f"{RESULTS}/logs/plot_costs.benchmark.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings_of("plot"),
        folder=subpath(output[0], parent=True),
    shell:
        """
        python -m genifer plot-costs \
            --costs {input.costs:q} \
            --output {params.folder:q} \
            --settings {params.settings:q} \
            2>&1 | tee {log:q}
        """


rule write_tables:
    """Write the run's tables as pages of the report."""
    input:
        accuracy=rules.tabulate.output.accuracy,
        summary=rules.tabulate.output.summary,
        confusion=rules.tabulate.output.confusion,
        costs=rules.tabulate_costs.output.costs,
        replay=rules.tabulate_replay.output.replay,
    output:
        [report_table(name) for name in tables()],
    log:
        f"{RESULTS}/logs/write_tables.log",
    benchmark:
        f"{RESULTS}/logs/write_tables.benchmark.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings_of("write_tables"),
        folder=subpath(output[0], parent=True),
        results=subpath(input.accuracy, parent=True),
    shell:
        """
        python -m genifer write-tables --results {params.results:q} \
            --output {params.folder:q} \
            2>&1 | tee {log:q}
        """
