"""Classical methods on raw pixels beside the convolutional networks of this repository.

k-nearest neighbours, PCA and k-nearest neighbours, a linear and an RBF support vector machine from
scikit-learn, with settings known from the literature, not tuned here; and the default networks of
`mnist_cnn.py` and `fashion_cnn_augment.py`. Writes `classical.md` and `.png` into the results
folder, `classical_quick.md` and `.png` with --quick.

    python -m benchmarks.classical           # about an hour on two cores
    python -m benchmarks.classical mnist     # one of the two data sets
    python -m benchmarks.classical --quick   # a tenth of the training images, in two minutes
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.runs import BenchmarkParser, empty_figure, run_script
from common.data.dataset import Dataset, normalise
from common.data.load import load
from experiment.values import one_of

NETWORK = "default network"
SCRIPTS = {"mnist": "mnist_cnn.py", "fashion_mnist": "fashion_cnn_augment.py"}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure all methods on the data sets named, or both, and write table and figure."""
    parser = BenchmarkParser("classical", __doc__)
    kind, which = one_of("dataset", SCRIPTS), f"which to measure: {', '.join(SCRIPTS)}"
    parser.add_argument("datasets", nargs="*", type=kind, metavar="DATASET", help=which)
    parser.add_argument("--quick", action="store_true", help="a tenth of the training images")
    parser.add_argument("--data-dir", type=Path, metavar="FOLDER", help="where the datasets are")
    if parser.parse_args(argv).quick:
        parser.name = "classical_quick"
    with parser.results(rows, draw, argv) as results:
        args, methods = results.args, {NETWORK: None} | classifiers()
        for dataset_name, method in results.missing(args.datasets or SCRIPTS, methods):
            dataset = load(dataset_name, "real", args.data_dir, quiet=True)
            images = len(dataset.train_labels) // (10 if args.quick else 1)
            if method == NETWORK:
                measured = measure_network(SCRIPTS[dataset_name], images, args.data_dir)
            else:
                measured = measure(methods[method], dataset.split(0, seed=1, images=images))
            print(f"{dataset.title}: {method} {measured[0]:.2%}", flush=True)
            names = ("test_accuracy", "fit_seconds", "predict_seconds")
            result = {"dataset": dataset.title, "images": images}
            results.keep(dataset_name, method, result | dict(zip(names, measured, strict=True)))


def classifiers() -> dict:
    """The methods of scikit-learn, not fitted yet."""
    from sklearn.decomposition import PCA
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import SVC, LinearSVC

    neighbours = KNeighborsClassifier(3, algorithm="brute", n_jobs=-1)
    return {
        "k-nearest neighbours (k 3)": neighbours,
        "PCA (50), k-nearest neighbours": make_pipeline(PCA(50, random_state=0), neighbours),
        "linear SVM (C 0.1)": LinearSVC(C=0.1, dual=False, tol=1e-3),
        "RBF SVM (C 10)": SVC(C=10, gamma="scale", cache_size=2000),
    }


def measure(classifier, dataset: Dataset) -> tuple[float, float, float]:
    """Test accuracy of a scikit-learn classifier on raw pixels, seconds to fit and to predict."""
    train, test = (
        normalise(images).reshape(len(images), -1)
        for images in (dataset.train_images, dataset.test_images)
    )
    began = time.perf_counter()
    classifier.fit(train, dataset.train_labels)
    fitted = time.perf_counter()
    accuracy = classifier.score(test, dataset.test_labels)
    return float(accuracy), fitted - began, time.perf_counter() - fitted


def measure_network(script: str, images: int, data_dir: Path | None) -> tuple[float, float, float]:
    """The same of the default network of a script, with a tenth of the images for validation."""
    options = ["--data-dir", data_dir] if data_dir else []
    (run,) = run_script(f"{script} --images {images} --figures none", *options)
    seconds = run.metrics["seconds"]
    return run.metrics["test_accuracy"], seconds["training"], seconds["evaluation"]


def rows(measured: dict[str, dict]) -> Iterator[dict[str, str]]:
    """A row of the table for each dataset and method."""
    for name, of_dataset in measured.items():
        for method, result in of_dataset.items():
            yield {
                "dataset": result["dataset"],
                "method": f"`{SCRIPTS[name]}`" if method == NETWORK else method,
                "training images": f"{result['images']:,}",
                "test accuracy": f"{result['test_accuracy']:.2%}",
                "fit": f"{result['fit_seconds']:.1f} s",
                "predict 10,000": f"{result['predict_seconds']:.1f} s",
            }


def draw(measured: dict[str, dict]):
    """Accuracy against the time that fitting and predicting take together."""
    figure, panels, colours = empty_figure(11, 5.6, len(measured))
    for axes, of_dataset in zip(panels, measured.values(), strict=True):
        for place, (method, result) in enumerate(of_dataset.items()):
            axes.plot(
                result["fit_seconds"] + result["predict_seconds"],
                100 * result["test_accuracy"],
                "os^Dv"[place],
                color=colours[place],
                ms=10,
                label=method,
            )
        axes.set_title(result["dataset"])
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("seconds to fit, and to predict 10,000 images")
        axes.set_ylabel("test accuracy, %")
        axes.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    return figure


if __name__ == "__main__":
    main()
