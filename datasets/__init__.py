"""The data sets by name: where their files lie upstream, and how they become arrays.

    DATASETS["MNIST"].build(folder)   # raw files -> Arrays
    load("mnist", Path("datasets"))   # datasets/mnist/data.h5 -> Data; Digits needs no file
"""
