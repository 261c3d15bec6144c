"""How many digits that are drawn on the pad of `python -m tools.draw` the network reads right.

MNIST's test digits, thinned to the path of a pen, are drawn with real mouse events in Chromium, in
random sizes and places. `--training` takes training digits: the pad was developed on those. Writes
`drawn_digits.md` and, with what was on the pad and misread, `drawn_digits.png` into the results
folder.

    python mnist_cnn.py --name digits
    python -m benchmarks.drawn_digits digits      # some minutes
"""

import base64
import io
import shutil
from collections.abc import Iterator
from statistics import median

import numpy as np
from PIL import Image
from scipy import ndimage

from benchmarks.digit_pictures import skeleton
from benchmarks.runs import BenchmarkParser
from common.errors import UserError
from experiment.values import whole_number
from tools.draw import write_page
from tools.saved import find_network, load_dataset

FINER = 4  # times as many pixels while a digit is thinned
SIZES = (0.35, 0.85)  # of a digit's longer side, as a fraction of the pad
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def main() -> None:
    """Draw, count, and write the table."""
    parser = BenchmarkParser("drawn_digits", __doc__, continues=False)
    add = parser.add_argument
    add("run", nargs="?", default="latest", metavar="RUN", help="whose network reads (latest)")
    count = whole_number(1, 10_000)
    add("--digits", type=count, default=200, metavar="N", help="to draw (%(default)s)")
    add("--training", action="store_true", help="digits of the training images")
    with parser.results(rows, misread) as results:
        args = results.args
        run = find_network(args.run, args.results_dir)
        if run.config["dataset"] != "mnist":
            raise UserError(f"{args.run} knows garments: name a run of mnist_cnn.py")
        page, data = write_page(run), load_dataset(run.trainings[0])
        images, labels = data.test_images, data.test_labels
        if args.training:
            images, labels = data.train_images, data.train_labels
        generator = np.random.default_rng(1)
        chosen = generator.permutation(len(images))[: args.digits]
        kind = "training" if args.training else "test"
        results.conditions = f"{kind} digits, {run.name}; {results.conditions}"
        browser, drawn = start_browser(), []
        try:
            browser.get(page.as_uri())
            for index in chosen:
                paths = placed(pen_paths(images[index]), generator)
                drawn.append({"label": str(labels[index]), **draw(browser, paths)})
        finally:
            browser.quit()
        results.keep(run.name, "drawn", drawn)


def start_browser(width: int = 1280, height: int = 1000):
    """A headless Chromium that selenium drives. Raises UserError where there is none."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if not (browser and driver):
        raise UserError("there is no Chromium with its driver (Debian: chromium, chromium-driver)")
    try:
        from selenium import webdriver
    except ImportError as error:
        raise UserError("selenium is missing: pip install selenium") from error
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    switches = (
        "headless=new",
        "no-sandbox",
        "disable-dev-shm-usage",
        f"window-size={width},{height}",
    )
    for switch in switches:
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(executable_path=driver))


def pen_paths(image: np.ndarray) -> list[np.ndarray]:
    """The strokes with which a pen would write a digit, uint8 (28, 28): float (n, 2), x and y."""
    finer = Image.fromarray(image).resize((28 * FINER, 28 * FINER), Image.Resampling.BICUBIC)
    left = set(zip(*np.nonzero(skeleton(np.asarray(finer) > 127)), strict=True))
    paths: list[list] = []
    while left:
        ends = [pixel for pixel in left if len(beside(pixel, left)) == 1]
        path = [min(ends or left)]
        left.remove(path[0])
        while following := beside(path[-1], left):
            # Straight on, where there is a choice.
            y, x = 2 * np.array(path[-1]) - path[max(len(path) - 4, 0)]
            path.append(min(following, key=lambda pixel: (pixel[0] - y) ** 2 + (pixel[1] - x) ** 2))
            left.remove(path[-1])
        drawn = {pixel for other in paths for pixel in other} | set(path[:-3])
        path += sorted(beside(path[-1], drawn))[:1]  # up to the stroke that it meets
        paths.append(path)
    longest = max(map(len, paths))
    smooth = [
        ndimage.uniform_filter1d(np.array(path, float)[:, ::-1], 5, axis=0, mode="nearest")
        for path in paths
        if len(path) > 0.1 * longest  # others are the thinning's
    ]
    return [np.concatenate([path[::FINER], path[-1:]]) for path in smooth]


def beside(pixel: tuple[int, int], pixels: set) -> list[tuple[int, int]]:
    """Which of the eight neighbours of a pixel are among `pixels`."""
    y, x = pixel
    around = [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    return [neighbour for neighbour in around if neighbour in pixels]


def placed(paths: list[np.ndarray], generator: np.random.Generator) -> list[np.ndarray]:
    """Paths in a random size and place on the pad, whose sides are 1."""
    points = np.concatenate(paths)
    low, sides = points.min(axis=0), np.maximum(np.ptp(points, axis=0), 1)
    scale = generator.uniform(*SIZES) / sides.max()
    corner = generator.uniform(0.05, 0.95 - scale * sides)
    return [corner + scale * (path - low) for path in paths]


def draw(browser, paths: list[np.ndarray]) -> dict[str, object]:
    """Draw strokes on a cleared pad: the answer, milliseconds of an update, the pad as a PNG."""
    script, canvas = browser.execute_script, "document.getElementById('pad')"
    script("actions.length = 0; performance.clearMeasures(); change()")
    left, top, side = script(
        f"const r = {canvas}.getBoundingClientRect(); return [r.x, r.y, r.width]"
    )

    def mouse(kind: str, point: np.ndarray, buttons: int) -> None:
        x, y = (point * side + (left, top)).tolist()
        event = {"type": kind, "x": x, "y": y, "button": "left", "buttons": buttons}
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", event | {"clickCount": 1})

    for path in paths:
        mouse("mousePressed", path[0], 1)
        for point in path[1:]:
            mouse("mouseMoved", point, 1)
        mouse("mouseReleased", path[-1], 0)
    next_frame = "requestAnimationFrame(() => setTimeout(arguments[0]))"
    browser.execute_async_script(next_frame)
    measured = script("return performance.getEntriesByName('update').map((e) => e.duration)")
    png = script(f"return {canvas}.toDataURL()").partition(",")[2]
    answer = browser.find_element("id", "answer").text
    return {"answer": answer, "milliseconds": median(measured), "png": png}


def rows(measured: dict[str, dict]) -> Iterator[dict[str, str]]:
    """The row of the table."""
    for name, value in measured.items():
        drawn, wrong = value["drawn"], wrong_ones(value["drawn"])
        yield {
            "network": name,
            "digits drawn": f"{len(drawn)}",
            "read right": f"{1 - len(wrong) / len(drawn):.1%}",
            "an update, median": f"{median(digit['milliseconds'] for digit in drawn):.0f} ms",
        }


def wrong_ones(drawn: list[dict]) -> list[dict]:
    """The digits that were misread."""
    return [digit for digit in drawn if digit["answer"] != digit["label"]]


def misread(measured: dict[str, dict]):
    """A matplotlib Figure of the digits that were misread."""
    from matplotlib.figure import Figure  # not at the top: --help need not wait for it

    wrong = wrong_ones([digit for value in measured.values() for digit in value["drawn"]])
    figure = Figure(figsize=(12, 1.9 * max(-(-len(wrong) // 8), 1)), layout="constrained")
    for place, digit in enumerate(wrong, start=1):
        axes = figure.add_subplot(-(-len(wrong) // 8), 8, place)
        picture = Image.open(io.BytesIO(base64.b64decode(digit["png"])))
        axes.imshow(np.asarray(picture)[..., 3], cmap="gray", vmin=0, vmax=255)
        axes.set_title(f"{digit['label']}, read as {digit['answer']}", fontsize=10)
        axes.set_axis_off()
    return figure


if __name__ == "__main__":
    main()
