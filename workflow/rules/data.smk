# Data: the archive, if the data set has one to download, and one file a task and split.


rule download_data:
    """Download CIFAR-100; what arrived before an interruption is kept."""
    output:
        archive=protected(DOWNLOADED),
    log:
        "results/downloads/download_data.log",
    benchmark:
        "results/downloads/download_data.benchmark.tsv"
    retries: 3
    localrule: True
    conda:
        "../../environment.yml"
    params:
        settings=settings_of("download_data"),
    shell:
        """
        python -m genifer download-data \
            --output {output.archive:q} \
            --settings {params.settings:q} \
            2>&1 | tee {log:q}
        """


rule prepare_data:
    """Split the data set into tasks."""
    input:
        archive=archive(),
    output:
        [path for split in SPLITS for path in images_of(split, TASKS)],
    log:
        f"{RESULTS}/data/prepare_data.log",
    benchmark:
        f"{RESULTS}/data/prepare_data.benchmark.tsv"
    conda:
        "../../environment.yml"
    params:
        settings=settings_of("prepare_data"),
        folder=subpath(output[0], parent=True),
        archive=f"--archive {DOWNLOADED}" if NEEDS_DOWNLOAD else "",
    shell:
        """
        python -m genifer prepare-data {params.archive} \
            --output {params.folder:q} \
            --settings {params.settings:q} \
            2>&1 | tee {log:q}
        """
