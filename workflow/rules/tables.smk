# The run's tables and plots, and the pages of its report.


for table in LAYOUT.tabulated:

    rule:
        name:
            table.job
        input:
            table.inputs,
        output:
            table.outputs,
        log:
            log_of_job(LAYOUT.log(table.job)),
        benchmark:
            LAYOUT.benchmark(table.job)
        conda:
            "../../environment.yml"
        params:
            table=table.name,
            settings=LAYOUT.settings_json(table.job),
            results=subpath(output[0], parent=True),
        shell:
            """
            python -m genifer --log {log:q} tabulate {params.table} \
                --settings {params.settings:q} \
                --results {params.results:q}
            """


for figure in LAYOUT.figures:

    rule:
        name:
            figure.job
        input:
            tables=figure.tables,
            data=figure.data,
            published=figure.given,
        output:
            drawn(figure.pictures),
        log:
            log_of_job(LAYOUT.log(figure.job)),
        benchmark:
            LAYOUT.benchmark(figure.job)
        conda:
            "../../environment.yml"
        params:
            figure=figure.name,
            settings=LAYOUT.settings_json(figure.settings),
            results=subpath(input[0], parent=True),
        shell:
            """
            python -m genifer --log {log:q} plot {params.figure} \
                --settings {params.settings:q} \
                --results {params.results:q} \
                {input.data:q}
            """


rule plot_sample_grids:
    """Draw a GAN's samples beside real images, and those nearest to a training image."""
    input:
        unpack(files_of("plot_sample_grids")),
    output:
        drawn(LAYOUT.sample_grids("{group}", "{seed}", "{task}")),
    log:
        log_of_job(LAYOUT.log("plot_sample_grids_{group}_seed_{seed}_task_{task}")),
    benchmark:
        LAYOUT.benchmark("plot_sample_grids_{group}_seed_{seed}_task_{task}")
    wildcard_constraints:
        group=LAYOUT.group_pattern("evaluate_replay"),
    conda:
        "../../environment.yml"
    params:
        settings=LAYOUT.settings_json("plot"),
        checkpoints=checkpoints_of("plot_sample_grids"),
        folder=subpath(output[0], parent=True),
    shell:
        """
        python -m genifer --log {log:q} plot-sample-grids \
            --method {wildcards.group} \
            --seed {wildcards.seed} \
            --settings {params.settings:q} \
            {params.checkpoints:q} \
            --nearest {input.nearest:q} \
            --replay {input.replay:q} \
            --output {params.folder:q} \
            {input.data:q}
        """


rule write_tables:
    """Write the run's tables as pages of the report."""
    input:
        tables=[LAYOUT.table(name) for name in LAYOUT.table_names],
    output:
        [shown(page, LAYOUT.page(page)) for page in LAYOUT.pages],
    log:
        log_of_job(LAYOUT.log("write_tables")),
    benchmark:
        LAYOUT.benchmark("write_tables")
    conda:
        "../../environment.yml"
    params:
        settings=LAYOUT.settings_json("write_tables"),
        results=subpath(input[0], parent=True),
    shell:
        """
        python -m genifer --log {log:q} write-tables \
            --settings {params.settings:q} \
            --results {params.results:q}
        """
