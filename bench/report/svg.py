"""Figures of matplotlib as SVG: for an HTML page that knows the colours, or files of their own."""
import io
import itertools
import re

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

import theme

DOTS_PER_INCH = 96
MEASURED = "DejaVu Sans"  # comes with matplotlib, and is wider than what readers have
FONTS = f"system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, '{MEASURED}', sans-serif"
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
VARIABLES = {colours[0]: f"var(--{name})" for name, colours in theme.COLOURS.items()}

matplotlib.rcParams.update({
    "svg.fonttype": "none",  # text stays text: small, selectable, in the reader's font
    "svg.hashsalt": "millrace",  # the same result gives the same file
    "text.parse_math": False,  # a title may have a $
    "font.family": MEASURED,
    "font.size": 8.5,
    "text.color": theme.light("ink"),
    "axes.labelcolor": theme.light("soft"),
    "axes.labelsize": 8.5,
    "axes.edgecolor": theme.light("grid"),
    "axes.facecolor": "none",
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "grid.color": theme.light("grid"),
    "grid.linewidth": 0.8,
    "xtick.color": theme.light("grid"),
    "ytick.color": theme.light("grid"),
    "xtick.labelcolor": theme.light("soft"),
    "ytick.labelcolor": theme.light("soft"),
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
})  # fmt: skip

figure_numbers = itertools.count(1)


def new_figure(width, height):
    """Of so many CSS pixels."""
    figure = Figure(figsize=(width / DOTS_PER_INCH, height / DOTS_PER_INCH))
    FigureCanvasSVG(figure)
    return figure


def place(figure, left, top, right, bottom):
    """The edges of the axes, in pixels from those of the figure."""
    width, height = figure.get_size_inches() * DOTS_PER_INCH
    figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height)


def draw(figure, paper):
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=NO_METADATA, facecolor=paper)
    svg = text.getvalue()
    svg = re.sub(r' transform="rotate\(-0 [^"]*"', "", svg[svg.index("<svg") :])
    return re.sub(r"\s*\n\s*", "\n", re.sub(r'\s*\n(?=[LCQzMx"])', " ", svg))


def inline(figure, label):
    """For HTML: it takes the width that there is, and the page's font and colours."""
    body, box = for_page(figure)
    return f'<svg class="chart" role="img" aria-label="{escape(label)}" viewBox="{box}">{body}'


def symbol(figure, identity):
    """For HTML, to be shown by <use href="#identity">."""
    body, box = for_page(figure)
    return f'<symbol id="{escape(identity)}" viewBox="{box}">{body}'.replace("</svg>", "</symbol>")


def for_page(figure):
    """What is inside <svg>, and its viewBox."""
    svg = draw(figure, "none")
    body = re.sub(
        r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", svg[svg.index(">") + 1 :], flags=re.S
    )
    body = re.sub("#[0-9a-f]{6}", lambda match: VARIABLES.get(match[0], match[0]), body)
    body = re.sub(rf"font: (\w+ )?([\d.]+px) '{MEASURED}'", font, body)
    # Several are in one document, and call their parts by the same names.
    mine = f"f{next(figure_numbers)}-"
    body = re.sub(r' id="\w+_\d+"', "", body)
    body = re.sub(r'( id="|url\(#|href="#)', lambda match: match[0] + mine, body)
    width, height = figure.get_size_inches() * 72  # matplotlib counts points
    return body, f"0 0 {width:g} {height:g}"


def font(match):
    weight = f"font-weight: {match[1].strip()}; " if match[1] else ""
    return f"{weight}font-size: {match[2]}"


def standalone(figure):
    """A file that can be read on light and dark pages: it brings a light background."""
    return '<?xml version="1.0" encoding="utf-8"?>\n' + draw(figure, theme.light("paper")).replace(
        f"'{MEASURED}'", FONTS
    )


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
