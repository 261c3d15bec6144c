"""Classical methods on MNIST's raw pixels, by scikit-learn.

k-nearest neighbours, PCA and k-nearest neighbours, a linear and an RBF support vector machine, with
settings known from the literature, not tuned here. Writes `classical.md` into the results folder.

    python -m benchmarks.classical           # about five minutes on two cores
"""

import time
from collections.abc import Iterator, Sequence

from benchmarks.runs import BenchmarkParser
from common.data.dataset import Dataset, normalise
from common.data.load import load


def main(argv: Sequence[str] | None = None) -> None:
    """Measure all methods, and write the table."""
    with BenchmarkParser("classical", __doc__).results(rows, argv=argv) as results:
        methods, dataset = classifiers(), load("mnist", "real", quiet=True)
        for method, number in results.missing(methods, [1]):
            results.keep(method, number, measure(methods[method], dataset))


def classifiers() -> dict:
    """The methods, not fitted yet."""
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


def measure(classifier, dataset: Dataset) -> dict[str, float]:
    """Test accuracy, seconds to fit and to predict the test set."""
    train, test = (
        normalise(images).reshape(len(images), -1)
        for images in (dataset.train_images, dataset.test_images)
    )
    began = time.perf_counter()
    classifier.fit(train, dataset.train_labels)
    fitted = time.perf_counter()
    accuracy = float(classifier.score(test, dataset.test_labels))
    seconds = {"fit_seconds": fitted - began, "predict_seconds": time.perf_counter() - fitted}
    return {"test_accuracy": accuracy} | seconds


def rows(measured: dict[str, dict]) -> Iterator[dict[str, str]]:
    """A row of the table for each method."""
    for method, numbers in measured.items():
        result = numbers["1"]
        yield {
            "method": method,
            "test accuracy": f"{result['test_accuracy']:.2%}",
            "fit": f"{result['fit_seconds']:.1f} s",
            "predict 10,000": f"{result['predict_seconds']:.1f} s",
        }


if __name__ == "__main__":
    main()
