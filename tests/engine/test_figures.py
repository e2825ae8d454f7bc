"""Claims about figures: exact size, embedded fonts, readable text, true data, one axis range, clear refusals."""

from __future__ import annotations

import ast
import base64
import io
import re
import xml.etree.ElementTree as ElementTree
import zlib
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from fontTools.ttLib import TTFont
from matplotlib.font_manager import fontManager
from matplotlib.text import Text
from PIL import Image

from mft_engine import palette
from mft_engine.compare.clouds import compare
from mft_engine.compare.resolution import Resolution
from mft_engine.experiment.experiment import Experiment
from mft_engine.experiment.outcome import Cloud, Outcome, Population
from mft_engine.experiment.storage import RunError
from mft_engine.figures import FIGURES as ALL_FIGURES
from mft_engine.figures import FORMATS, FigureError, MissingError, draw, save, save_three_pictures, write_figure
from mft_engine.figures.pictures import axis_range, caption, density_levels, functions_on_grid, shared_bins
from mft_engine.questions.theory import solve_theory
from mft_engine.recipe import load_recipe
from mft_engine.rng import Stream, host_generator

RECIPE = load_recipe("clover").replace({"network.n_neurons": 300, "foreground.n_neurons": 250, "training.time": 0.5})

# The figure of modular addition has a run of its own in test_modular.py.
FIGURES = [name for name in ALL_FIGURES if name != "fourier"]


def clover(n: int, number: int) -> np.ndarray:
    """Four lumps near (+-.5, +-.5), every fourth neuron on an arm along a diagonal out to 3; readouts of their sign."""
    generator = host_generator(5, Stream.TEST_POINTS, number)
    corner = generator.choice([-1.0, 1.0], (n, 2))
    reach = np.where(generator.random(n) < 0.25, generator.uniform(0.5, 3, n), 0.5)
    w = corner * reach[:, None] + 0.1 * generator.normal(size=(n, 2))
    return np.column_stack([w, 10 * corner.prod(axis=1) + generator.normal(size=n)])


def round_cloud(n: int, number: int) -> np.ndarray:
    return host_generator(5, Stream.TEST_POINTS, number).normal(size=(n, 3)) * [1.0, 1.0, 4.5]


@pytest.fixture(scope="module")
def right() -> Outcome:
    experiment = Experiment(RECIPE)
    experiment.advance(200)
    outcome = experiment.outcome()
    background, foreground = clover(300, 1), clover(250, 2)
    return replace(
        outcome,
        background=population(background, 0.30, "trained"),
        foreground=population(foreground, 0.33, "dynamics"),
        comparisons=(compare(background, foreground, 2),),
        theory=solve_theory(RECIPE),
    )


@pytest.fixture(scope="module")
def wrong(right) -> Outcome:
    background, foreground = round_cloud(300, 3), clover(250, 4)
    return replace(
        right,
        background=population(background, 0.6, "lazy"),
        foreground=population(foreground, 2.0, "dynamics"),
        comparisons=(compare(background, foreground, 2),),
        theory=None,
    )


def offsets(figure, panel: int = 0) -> list[np.ndarray]:
    """The points of each cloud in a panel."""
    return [line.get_xydata() for line in figure.axes[panel].lines if line.get_marker() == "o"]


def population(theta: np.ndarray, loss: float, kind: str) -> Population:
    return Population((Cloud(theta, ("w1", "w2", "a")),), np.zeros(256), loss, kind)


def inside(cloud: Population, half: float) -> np.ndarray:
    """The input weights that a square of that half side shows."""
    w = cloud.theta[:, :2]
    return w[np.abs(w).max(axis=1) <= half]


@pytest.mark.parametrize("width_mm", [85.0, 170.0])
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_exactly_as_wide_as_asked_in_every_format(right, wrong, tmp_path, name, width_mm):
    files = save(name, right, tmp_path, ("pdf", "svg", "png"), width_mm, wrong=wrong, has_caption=True)
    assert [f.name for f in files] == [f"{name}.{form}" for form in ("pdf", "svg", "png")]
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", files[0].read_bytes())
    assert float(box[1]) == pytest.approx(width_mm / 25.4 * 72, abs=0.01)
    svg = ElementTree.parse(files[1]).getroot()
    assert float(svg.get("width").removesuffix("pt")) == pytest.approx(width_mm / 25.4 * 72, abs=0.01)
    with Image.open(files[2]) as image:
        assert image.width == pytest.approx(width_mm / 25.4 * 300, abs=1)


@pytest.mark.parametrize("width_mm", [60.0, 85.0, 170.0])
@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_and_no_words_overlap(right, wrong, monkeypatch, name, width_mm):
    figure = draw(name, right, wrong=wrong, width_mm=width_mm, has_caption=True)
    drawn = []
    draw_text = Text.draw
    monkeypatch.setattr(Text, "draw", lambda self, renderer: (drawn.append(self), draw_text(self, renderer)))
    renderer = figure.canvas.get_renderer()
    figure.draw(renderer)
    words = [(t.get_text(), t.get_window_extent(renderer)) for t in drawn if t.get_visible() and t.get_text().strip()]
    assert len(words) > 5
    page = figure.bbox
    for content, box in words:
        assert box.x0 >= -1 and box.x1 <= page.width + 1, f"{content!r} is cut off"
        assert box.y0 >= -1 and box.y1 <= page.height + 1, f"{content!r} is cut off"
    for i, (first, one) in enumerate(words):
        for second, other in words[i + 1 :]:
            # Half a point of shared line spacing is no overlap.
            width = min(one.x1, other.x1) - max(one.x0, other.x0)
            height = min(one.y1, other.y1) - max(one.y0, other.y0)
            tolerance = 0.5 / 72 * figure.dpi
            assert width < tolerance or height < tolerance, f"{first!r} lies on {second!r}"


@pytest.mark.parametrize("name", FIGURES)
def test_pdf_embeds_its_fonts_as_truetype(right, wrong, tmp_path, name):
    (file,) = save(name, right, tmp_path, ("pdf",), wrong=wrong, has_caption=True)
    data = file.read_bytes()
    fonts = set(re.findall(rb"/BaseFont /([^\s/]+)", data))
    assert fonts and all(b"DejaVuSans" in font for font in fonts)
    assert data.count(b"/FontFile2") >= len({font.split(b"+")[-1] for font in fonts})
    assert b"/Type3" not in data


def test_svg_keeps_words_as_text(right, wrong, tmp_path):
    (file,) = save("three-pictures", right, tmp_path, ("svg",), 170, wrong=wrong, has_caption=True)
    words = " ".join("".join(node.itertext()) for node in ElementTree.parse(file).iter() if node.tag.endswith("}text"))
    for expected in ("wrong background", "foreground", "inconsistent", "clover, seed 0"):
        assert expected in " ".join(words.split())


@pytest.mark.parametrize("name", ["three-pictures", "loss"])
def test_svg_carries_every_letter_that_it_shows(right, wrong, tmp_path, name):
    (file,) = save(name, right, tmp_path, ("svg",), 170, wrong=wrong, has_caption=True)
    root = ElementTree.parse(file).getroot()
    css = "".join(node.text or "" for node in root.iter() if node.tag.endswith("}style"))
    faces = {}
    for slant, weight, data in re.findall(
        r"font-style:(\w+);font-weight:(\w+);src:url\(data:font/woff;base64,(.*?)\)", css
    ):
        faces[slant, weight] = set(TTFont(io.BytesIO(base64.b64decode(data))).getBestCmap())
    assert ("normal", "normal") in faces and ("oblique", "normal") in faces
    for node in root.iter():
        if node.tag.endswith(("}text", "}tspan")) and (node.text or "").strip():
            css = node.get("style", "")
            face = ("oblique" if "oblique" in css else "normal", "bold" if re.search("bold|700", css) else "normal")
            assert {ord(letter) for letter in node.text.strip()} - {0x20, 0xA0} <= faces[face]
    assert "stroke-linejoin" in root.find("{*}defs/{*}style").text


def test_italics_stay_italic_and_nothing_is_complained_about_with_a_font_cache_of_another_installation(
    right, tmp_path, monkeypatch, caplog
):
    own = matplotlib.get_data_path()
    others = [entry for entry in fontManager.ttflist if not entry.fname.startswith(own)]
    monkeypatch.setattr(fontManager, "ttflist", others)
    fontManager._findfont_cached.cache_clear()
    (file,) = save("loss", right, tmp_path, ("svg",), 170)
    assert "font-style: oblique" in file.read_text("utf-8")
    assert not [record for record in caplog.records if "findfont" in record.message]


def test_the_same_figure_is_the_same_file(right, wrong, tmp_path):
    for form in FORMATS[:-1]:  # TIFF is PNG in another wrapping
        data = [
            save("three-pictures", right, tmp_path / str(k), (form,), wrong=wrong)[0].read_bytes() for k in range(2)
        ]
        assert data[0] == data[1]


def test_eps_embeds_its_fonts_has_no_transparency_and_leaves_the_figure_as_it_was(right, tmp_path, caplog):
    figure = draw("marginals", right, width_mm=85)
    alphas = [artist.get_alpha() for artist in figure.findobj()]
    text = write_figure(figure, tmp_path / "marginals.eps").read_bytes()
    box = re.search(rb"%%HiResBoundingBox: [\d.]+ [\d.]+ ([\d.]+) ([\d.]+)", text)
    assert text.startswith(b"%!PS-Adobe") and b"/FontType 42" in text and b"CreationDate" not in text
    assert float(box[1]) == pytest.approx(85 / 25.4 * 72, abs=1.0)  # the box is in whole points
    assert not caplog.records and 0.22 in alphas
    assert [artist.get_alpha() for artist in figure.findobj()] == alphas


def test_the_pixels_of_a_large_cloud_cover_nothing_in_eps(right, tmp_path):
    many = replace(right, background=population(round_cloud(6000, 6), 0.30, "trained"))
    figure = draw("background", many)
    assert b"colorimage" not in write_figure(figure, tmp_path / "background.eps").read_bytes()
    (line,) = figure.axes[0].lines
    assert line.get_rasterized()


def test_tiff_is_opaque_packed_without_loss_and_of_600_dots_an_inch(right, tmp_path):
    (file,) = save("loss", right, tmp_path, ("tiff",), 85)
    with Image.open(file) as picture:
        assert picture.mode == "RGB" and picture.info["compression"] == "tiff_lzw"
        assert picture.info["dpi"] == (600, 600) and picture.width == pytest.approx(85 / 25.4 * 600, abs=1)


def test_clouds_show_the_neurons_where_they_are_in_the_shared_colours(right):
    figure = draw("foreground", right)
    (blue, orange), lines = offsets(figure), figure.axes[0].lines
    half = figure.axes[0].get_xlim()[1]
    np.testing.assert_array_equal(blue, inside(right.background, half))
    np.testing.assert_array_equal(orange, inside(right.foreground, half))
    assert len(blue) > 295 and len(orange) > 245
    assert [line.get_color() for line in lines] == [palette.BACKGROUND, palette.FOREGROUND]
    assert lines[0].get_zorder() < lines[1].get_zorder() and figure.axes[0].get_aspect() == 1
    (alone,) = offsets(draw("background", right))
    np.testing.assert_array_equal(alone, blue)


def test_the_three_pictures_share_one_range_and_show_right_then_wrong(right, wrong):
    figure = draw("three-pictures", right, wrong=wrong, width_mm=170)
    ranges = {(*axes.get_xlim(), *axes.get_ylim()) for axes in figure.axes}
    assert len(figure.axes) == 3 and len(ranges) == 1
    expected = [[right.background], [right.background, right.foreground], [wrong.background, wrong.foreground]]
    for panel, clouds in enumerate(expected):
        for shown, cloud in zip(offsets(figure, panel), clouds, strict=True):
            np.testing.assert_array_equal(shown, inside(cloud, figure.axes[panel].get_xlim()[1]))
    singles = [draw(name, right, wrong=wrong) for name in ("background", "foreground", "wrong-background")]
    assert {(*f.axes[0].get_xlim(), *f.axes[0].get_ylim()) for f in singles} == ranges


def test_three_pictures_in_one_action_give_each_picture_and_all_together(right, wrong, tmp_path):
    files = save_three_pictures(right, wrong, tmp_path, ("png", "pdf"))
    names = ("three-pictures", "background", "foreground", "wrong-background")
    assert [f.name for f in files] == [f"{name}.{form}" for name in names for form in ("png", "pdf")]
    assert all(f.stat().st_size > 5000 for f in files)


@pytest.mark.parametrize("n_neurons", [5000, 5001])
def test_large_clouds_are_rasterised_and_small_ones_are_not(right, n_neurons):
    many = replace(right, background=population(round_cloud(n_neurons, 6), 0.30, "trained"))
    (line,) = draw("background", many).axes[0].lines
    assert line.get_rasterized() is (n_neurons > 5000)


def test_axis_range_keeps_far_arms_and_ignores_a_few_outliers():
    cloud = clover(2000, 7)
    assert axis_range([cloud]) == 3.5
    cloud[:5, 0] = 1e6
    assert axis_range([cloud]) == 3.5
    assert axis_range([0.01 * clover(2000, 7)]) == pytest.approx(0.035)
    assert axis_range([cloud, 3 * clover(100, 8)]) > 8
    assert axis_range([np.zeros((5, 3))]) == 1.0


def test_the_caption_of_a_consistent_run_says_what_would_have_been_noticed(right):
    comparison = right.comparison
    assert comparison is not None
    told = replace(comparison, resolution=Resolution(prior_share=0.04, weight_scale=0.06), verdict="consistent")
    words = caption(replace(right, comparisons=(told,))).replace("\xa0", " ")
    assert "would have noticed 4 % of untrained neurons or input weights longer by 6 %" in words
    assert f"energy distance is at most {told.distance_upper:.2g} (95 %)" in words


def test_caption_says_recipe_seed_sizes_verdict_and_what_is_not_shown(right):
    words = caption(right).replace("\xa0", " ")
    for expected in ("clover, seed 0", "300 background", "250 foreground", right.comparison.verdict,
                     f"p = {right.comparison.p_value:.2g}"):  # fmt: skip
        assert expected in words
    theta = right.background.theta.copy()
    theta[0, 0] = 50.0
    far = replace(right, background=population(theta, 0.30, "trained"))
    texts = " ".join(text.get_text() for text in draw("background", far, has_caption=True, width_mm=170).texts)
    assert "1 of 300 neurons lie outside the axes" in texts
    assert not draw("background", far).texts


def test_loss_is_drawn_over_time_with_foreground_and_theory_levels(right):
    lines = {line.get_label(): line for line in draw("loss", right).axes[0].lines}
    np.testing.assert_array_equal(lines["background"].get_xdata(), right.metrics["time"])
    np.testing.assert_array_equal(lines["background"].get_ydata(), right.metrics["loss"])
    assert set(lines["foreground"].get_ydata()) == {0.33}
    assert set(lines["infinite width"].get_ydata()) == {right.theory.loss}
    wide = replace(right, metrics=right.metrics | {"loss": right.metrics["loss"] * 100})
    assert draw("loss", wide).axes[0].get_yscale() == "log"


def test_fields_are_the_functions_of_the_clouds(right):
    functions = functions_on_grid(right, n_pixels=8, extent=2.0)
    line = (np.arange(8) + 0.5) / 2 - 2
    x = np.array([line[6], line[1]])
    np.testing.assert_allclose(functions.target[1, 6], x[0] * x[1])
    for cloud, image in ((right.background, functions.background), (right.foreground, functions.foreground)):
        activity = np.maximum(0, np.tanh(cloud.theta[:, :2] @ x))
        np.testing.assert_allclose(image[1, 6], np.mean(cloud.theta[:, 2] * activity), rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(functions.residual, functions.target - functions.background)
    # Under N(0, I) the 98 % quantile of |x1 x2| is 3.2; the default rule has 256 points.
    assert functions.limit == pytest.approx(3.2, rel=0.15)
    images = [axes.images[0].get_array() for axes in draw("fields", right).axes[:4]]
    shown = functions_on_grid(right)
    for image, values in zip(images, (shown.target, shown.background, shown.foreground, shown.residual), strict=True):
        np.testing.assert_array_equal(image, values)


def test_a_lazy_background_is_drawn_with_its_own_readout_exponent(wrong):
    functions = functions_on_grid(wrong, n_pixels=2, extent=2.0)
    x = np.array([1.0, 1.0])
    activity = np.maximum(0, np.tanh(wrong.background.theta[:, :2] @ x))
    expected = np.sum(wrong.background.theta[:, 2] * activity) / np.sqrt(300)
    np.testing.assert_allclose(functions.background[1, 1], expected)


def test_marginals_are_densities_of_area_one_under_the_theory_line(right):
    figure = draw("marginals", right, width_mm=170)
    for column, axes in enumerate(figure.axes):
        outlines = [patch for patch in axes.patches if not patch.get_fill()]
        for patch, cloud in zip(outlines, (right.background, right.foreground), strict=True):
            values, edges, _ = patch.get_data()
            inside = np.mean((cloud.theta[:, column] >= edges[0]) & (cloud.theta[:, column] <= edges[-1]))
            assert np.sum(values * np.diff(edges)) == pytest.approx(inside)
        (curve,) = axes.lines
        law, x = right.theory.law, curve.get_xdata()
        expected = law.marginal_readout(x) if column == 2 else law.marginal_weight(x, axis=column)
        np.testing.assert_array_equal(curve.get_ydata(), expected)


def test_null_figure_shows_every_permutation_and_the_distance(right, wrong):
    for outcome, scale in ((right, "linear"), (wrong, "log")):
        c = outcome.comparison
        panels = ((c.null, c.energy_distance), (c.null_weights, c.energy_distance_weights))
        figure = draw("null", outcome)
        assert figure.axes[0].get_xscale() == scale
        for axes, (null, distance) in zip(figure.axes, panels, strict=True):
            (patch,) = axes.patches
            assert patch.get_data().values.sum() == len(null) == 500
            assert any(line.get_xdata()[0] == distance for line in axes.lines)
            low, high = axes.get_xlim()
            assert low < min(null.min(), distance) and high > max(null.max(), distance)


def test_theory_lines_enclose_their_shares():
    line = (np.arange(400) + 0.5) / 40 - 5
    x, y = np.meshgrid(line, line)
    density = np.exp(-(x**2 + y**2) / 2) / (2 * np.pi)
    shares = (0.25, 0.5, 0.95)
    # A plane Gaussian has mass 1 - exp(-r^2/2) within r, where its density is exp(-r^2/2)/(2 pi).
    expected = sorted((1 - share) / (2 * np.pi) for share in shares)
    np.testing.assert_allclose(density_levels(density, (1 / 40) ** 2, shares), expected, rtol=2e-3)


def test_bins_are_fine_enough_for_two_narrow_peaks_with_long_tails():
    sample = np.concatenate([clover(2000, 9)[:, 0], [40.0, -40.0]])
    edges = shared_bins([sample, sample])
    assert np.diff(edges)[0] < 0.2 and edges[0] == -edges[-1] and edges[-1] < 10
    assert len(shared_bins([np.ones(5)])) == 13


@pytest.mark.parametrize(
    ("name", "missing", "words"),
    [
        ("foreground", {"foreground": None}, "no foreground to draw yet"),
        ("null", {"comparisons": ()}, "no comparison to draw yet"),
        ("theory", {"theory": None}, "no infinite-width solution"),
        ("three-pictures", {}, "the wrong background"),
        ("wrong-background", {}, "the wrong background"),
    ],
)
def test_what_is_not_there_yet_is_said(right, name, missing, words):
    with pytest.raises(MissingError, match=words):
        draw(name, replace(right, **missing))


def test_bad_names_formats_widths_and_folders_are_said(right, tmp_path):
    with pytest.raises(FigureError, match="no figure 'petal'; there are background"):
        draw("petal", right)
    with pytest.raises(FigureError, match="no figure format 'jpg'; there are pdf, svg, png"):
        save("background", right, tmp_path, ("pdf", "jpg"))
    with pytest.raises(FigureError, match="60 to 1000 mm"):
        draw("background", right, width_mm=12)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="a file where a folder is needed"):
        save("background", right, tmp_path / "file")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_task_without_a_plane_is_said(right):
    points = replace(right.points, inputs=np.zeros((256, 3)))
    with pytest.raises(MissingError, match="two inputs; this one has 3"):
        draw("background", replace(right, points=points))


def test_underscores_in_names_are_accepted(right, wrong, tmp_path):
    (file,) = save("three_pictures", right, tmp_path, ("png",), wrong=wrong)
    assert file.name == "three-pictures.png"


def test_matplotlib_is_imported_by_figures_alone_and_never_its_pyplot():
    root = Path(palette.__file__).parent
    for path in [*root.rglob("*.py")]:
        tree = ast.parse(path.read_text())
        # The type of what `watch.figure()` gives is imported by nobody who runs it.
        for block in [
            node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        ]:
            tree.body.remove(block)
        names = [
            name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        ]
        uses = [name for name in names if name.split(".")[0] == "matplotlib"]
        assert not uses or path.parent.name == "figures", path
        assert not any("pyplot" in name for name in names), path


def test_blue_and_orange_stay_apart_in_grey_and_for_the_colour_blind():
    # Machado, Oliveira, Fernandes 2009, complete deuteranopia and protanopia, on linear light.
    deutan = np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]])
    protan = np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    )

    def linear(colour: str) -> np.ndarray:
        value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)

    pair = [linear(colour) for colour in (palette.BACKGROUND, palette.FOREGROUND)]
    for matrix in (np.eye(3), deutan, protan):
        one, other = (np.clip(matrix @ colour, 0, 1) for colour in pair)
        assert np.abs(one - other).max() > 0.3
    luminance = [float(colour @ [0.2126, 0.7152, 0.0722]) for colour in pair]
    assert (max(luminance) + 0.05) / (min(luminance) + 0.05) > 1.4


def decompressed(data: bytes) -> bytes:
    """All streams of a PDF, unpacked."""
    parts = []
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", data, re.DOTALL):
        try:
            parts.append(zlib.decompress(stream))
        except zlib.error:
            continue
    return b"".join(parts)


def test_small_clouds_are_vectors_in_pdf(right, tmp_path):
    (file,) = save("background", right, tmp_path, ("pdf",))
    # One call of the marker's form object for every neuron inside the axes.
    drawn = decompressed(file.read_bytes()).count(b" Do\n")
    half = axis_range([right.background.theta, right.foreground.theta])
    n_shown = len(inside(right.background, half))
    assert n_shown <= drawn <= n_shown + 25


def test_png_is_not_blank(right):
    figure = draw("foreground", right)
    memory = io.BytesIO()
    figure.savefig(memory, format="png")
    pixels = np.asarray(Image.open(memory).convert("RGB")).astype(int)
    for colour in (palette.BACKGROUND, palette.FOREGROUND):
        target = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert np.count_nonzero(np.abs(pixels - target).max(axis=2) < 12) > 500
