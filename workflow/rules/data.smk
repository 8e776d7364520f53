# Data: the archive, if the data set is downloaded, and one file per task and split; ImageNet's weights, if the
# classifier starts from them.


if LAYOUT.downloaded:

    rule download_data:
        """Download the data set's archive; an interrupted download resumes."""
        output:
            archive=protected(LAYOUT.downloaded),
        log:
            log_of_job(f"{LAYOUT.downloaded}.log"),
        benchmark:
            f"{LAYOUT.downloaded}.benchmark.tsv"
        retries: 3
        localrule: True
        conda:
            "../../environment.yml"
        resources:
            options=LAYOUT.runtime_options,
        params:
            settings=LAYOUT.settings_json("download_data"),
        shell:
            """
            python -m genifer --log {log:q} download-data \
                --runtime {resources.options:q} \
                --settings {params.settings:q} \
                --output {output.archive:q}
            """


for architecture, weights in LAYOUT.downloaded_weights.items():

    rule:
        name:
            f"download_weights_{architecture}"
        output:
            weights=protected(weights),
        log:
            log_of_job(f"{weights}.log"),
        benchmark:
            f"{weights}.benchmark.tsv"
        retries: 3
        localrule: True
        conda:
            "../../environment.yml"
        params:
            architecture=architecture,
        shell:
            """
            python -m genifer --log {log:q} download-weights {params.architecture} --output {output.weights:q}
            """


rule prepare_data:
    """Split the data set into tasks; once, or for each seed where the class order is drawn from it."""
    input:
        archive=of_storage(LAYOUT.archive),
    output:
        LAYOUT.prepared_for("{seed}"),
    log:
        log_of_job(f"{LAYOUT.data_folder('{seed}')}/prepare_data.log"),
    benchmark:
        f"{LAYOUT.data_folder('{seed}')}/prepare_data.benchmark.tsv"
    conda:
        "../../environment.yml"
    threads: RUN.runtime.threads
    resources:
        options=LAYOUT.runtime_options,
    params:
        settings=lambda wildcards: LAYOUT.settings_json(
            "prepare_data", wildcards.get("seed")
        ),
        folder=subpath(output[0], parent=True),
        archive=archive_option(),
    shell:
        """
        python -m genifer --log {log:q} prepare-data {params.archive:q} \
            --runtime {resources.options:q} \
            --settings {params.settings:q} \
            --output {params.folder:q}
        """
