# Evaluation after every task, the run's tables and its plots.


rule evaluate_first_task:
    """Evaluate the classifier that all methods share."""
    input:
        classifier=FIRST_CLASSIFIER,
        data=first_evaluated_images(),
    output:
        accuracy=f"{FIRST_TASK}/evaluate/accuracy.csv",
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
        data=repeated("--data", first_evaluated_images()),
    shell:
        """
        python -m genifer evaluate --method first_task --seed {wildcards.seed} --device {resources.device} \
            --classifier {input.classifier:q} \
            {params.data} \
            --output {output.accuracy:q} \
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
        data=lambda wildcards, input: repeated("--data", input.data),
    shell:
        """
        python -m genifer evaluate --method {wildcards.method} --seed {wildcards.seed} --device {resources.device} \
            --classifier {input.classifier:q} \
            {params.data} \
            --output {output.accuracy:q} \
            --settings {params.settings:q} \
            2>&1 | tee {log:q}
        """


rule tabulate:
    """Collect the evaluations of all methods, seeds and tasks."""
    input:
        evaluations=evaluations(),
    output:
        accuracy=f"{RESULTS}/accuracy.csv",
        summary=f"{RESULTS}/summary.csv",
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
        evaluations=lambda wildcards, input: repeated("--evaluation", input.evaluations),
    shell:
        """
        python -m genifer tabulate {params.methods} {params.evaluations} \
            --output {params.folder:q} \
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
    """Draw accuracy over classes, the accuracy matrices, and forgetting."""
    input:
        accuracy=rules.tabulate.output.accuracy,
    output:
        accuracy_plots(),
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
            --output {params.folder:q} \
            --settings {params.settings:q} \
            2>&1 | tee {log:q}
        """


rule plot_replay:
    """Draw what the GAN replays after a task: one column a class."""
    input:
        gan=gan_of_task,
        classifier=FIRST_CLASSIFIER,
        data=images_of("test", [0]),
    output:
        pictures("replay_seed_{seed}_task_{task}"),
    log:
        f"{RESULTS}/logs/plot_replay_seed_{{seed}}_task_{{task}}.log",
    benchmark:
        f"{RESULTS}/logs/plot_replay_seed_{{seed}}_task_{{task}}.benchmark.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings_of("plot"),
        picture=subpath(output[0], strip_suffix=".png"),
    shell:
        """
        python -m genifer plot-replay --seed {wildcards.seed} \
            --gan {input.gan:q} \
            --classifier {input.classifier:q} \
            --data {input.data:q} \
            --output {params.picture:q} \
            --settings {params.settings:q} \
            2>&1 | tee {log:q}
        """


if training_plots():

    rule plot_training:
        """Draw the training curves: a picture a stage, a line a training."""
        input:
            training=rules.tabulate_training.output.training,
        output:
            training_plots(),
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
