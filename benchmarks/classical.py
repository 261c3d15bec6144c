"""Classical methods on raw pixels beside the convolutional networks of this repository.

k-nearest neighbours, PCA and k-nearest neighbours, a linear and an RBF support vector machine from
scikit-learn, with settings known from the literature, not tuned here; and the default networks of
`mnist_cnn.py` and `fashion_cnn_augment.py`. Writes `classical.md`, `classical.png` and
`classical.json` into the results folder; what is in the last is not measured again.

    python -m benchmarks.classical           # about an hour on two cores
    python -m benchmarks.classical --quick   # a tenth of the training images, in two minutes
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC, LinearSVC

from common.data.load import Dataset, load, normalise
from common.errors import one_line_errors
from common.files import REPOSITORY, beside, write_atomically
from common.plotting.curves import COLOURS, MARKERS
from experiment.options import OneLineParser
from experiment.report import markdown_table

CLASSIFIERS = {
    "k-nearest neighbours (k 3)": lambda: KNeighborsClassifier(3, algorithm="brute", n_jobs=-1),
    "PCA (50) and k-nearest neighbours": lambda: make_pipeline(
        PCA(50, random_state=0), KNeighborsClassifier(3, algorithm="brute", n_jobs=-1)
    ),
    "linear SVM (C 0.1)": lambda: LinearSVC(C=0.1, dual=False, tol=1e-3),
    "RBF SVM (C 10)": lambda: SVC(C=10, gamma="scale", cache_size=2000),
}
NETWORKS = {"mnist": "mnist_cnn", "fashion_mnist": "fashion_cnn_augment"}


def main() -> None:
    """Measure all methods on both data sets, and write table and figure."""
    parser = OneLineParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the training images")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--results-dir", type=Path, default=REPOSITORY / "results")
    args = parser.parse_args()
    with one_line_errors():
        name = "classical_quick" if args.quick else "classical"
        args.results_dir.mkdir(parents=True, exist_ok=True)
        path = args.results_dir / f"{name}.json"
        results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        done = {(result["dataset"], result["method"]) for result in results}
        for dataset_name, script in NETWORKS.items():
            dataset = load(dataset_name, "real", args.data_dir)
            images = len(dataset.train_labels) // (10 if args.quick else 1)
            dataset = dataset.split(0, seed=1, images=images)
            for method in (script, *CLASSIFIERS):
                if (dataset.title, method) in done:
                    continue
                if method in CLASSIFIERS:
                    numbers = measure(CLASSIFIERS[method](), dataset)
                else:
                    numbers = measure_network(script, images, args.data_dir)
                result = {"dataset": dataset.title, "method": method, "images": images} | numbers
                print(f"{dataset.title}: {method} {result['test_accuracy']:.2%}", flush=True)
                results.append(result)
                write_atomically(path, json.dumps(results, indent=2).encode())
                write_table(results, args.results_dir / f"{name}.md")
                with beside(args.results_dir / f"{name}.png") as partial:
                    draw(results).savefig(partial, dpi=100)
        print((args.results_dir / f"{name}.md").read_text(encoding="utf-8"))


def measure(classifier, dataset: Dataset) -> dict:
    """Fit a scikit-learn classifier on raw pixels, and test it."""
    train, test = (
        normalise(images).reshape(len(images), -1)
        for images in (dataset.train_images, dataset.test_images)
    )
    began = time.perf_counter()
    classifier.fit(train, dataset.train_labels)
    fitted = time.perf_counter()
    predicted = classifier.predict(test)
    return {
        "test_accuracy": float(np.mean(predicted == dataset.test_labels)),
        "fit_seconds": fitted - began,
        "predict_seconds": time.perf_counter() - fitted,
    }


def measure_network(script: str, images: int, data_dir: Path | None) -> dict:
    """Train the default network of a script on as many images, a tenth of them for validation."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--images", images, "--results-dir", folder, "--name", "cnn", "--quiet"]
        options += ["--data", "real"] + (["--data-dir", data_dir] if data_dir else [])
        command = [sys.executable, REPOSITORY / f"{script}.py", *options]
        answer = subprocess.run(list(map(str, command)), check=False, stdout=subprocess.DEVNULL)
        if answer.returncode:  # the script has said why
            sys.exit(answer.returncode)
        path = Path(folder) / script / "cnn" / "metrics.json"
        metrics = json.loads(path.read_text(encoding="utf-8"))
    return {
        "test_accuracy": metrics["test_accuracy"],
        "fit_seconds": metrics["seconds"]["training"],
        "predict_seconds": metrics["seconds"]["evaluation"],
    }


def write_table(results: list[dict], path: Path) -> None:
    """Write the results as a Markdown table."""
    rows = [
        {
            "data set": result["dataset"],
            "method": result["method"],
            "training images": f"{result['images']:,}",
            "test accuracy": f"{result['test_accuracy']:.2%}",
            "fit": f"{result['fit_seconds']:.1f} s",
            "predict 10,000": f"{result['predict_seconds']:.1f} s",
        }
        for result in results
    ]
    write_atomically(path, f"{markdown_table(rows)}\n".encode())


def draw(results: list[dict]) -> Figure:
    """Accuracy against the time that fitting and predicting take together."""
    titles = list(dict.fromkeys(result["dataset"] for result in results))
    figure = Figure(figsize=(11, 5.6), layout="constrained")
    methods = [*NETWORKS.values(), *CLASSIFIERS]
    for axes, title in zip(np.atleast_1d(figure.subplots(1, len(titles))), titles, strict=True):
        for result in (result for result in results if result["dataset"] == title):
            place = methods.index(result["method"])
            seconds = result["fit_seconds"] + result["predict_seconds"]
            axes.plot(
                seconds,
                100 * result["test_accuracy"],
                MARKERS[place],
                color=COLOURS[place],
                ms=10,
                label=result["method"],
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
        axes.set(title=title, xlabel="seconds to fit, and to predict 10,000 images")
        axes.set_ylabel("test accuracy, %")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    return figure


if __name__ == "__main__":
    main()
