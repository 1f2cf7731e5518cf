#!/usr/bin/python3
"""Turns the JSON of a benchmark into one HTML page that needs nothing else, and into SVG files.

    report.py RESULT.json --html report.html [--svg-dir DIR]

Wants Debian's python3-matplotlib and python3-jinja2. The status is 1 when the file is not a result.
"""
import argparse
import os
import pathlib
import sys

from node import BadResult
from result import read_result


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", metavar="RESULT.json", help="as compare --json writes it")
    parser.add_argument("--html", metavar="FILE", help="the report")
    parser.add_argument("--svg-dir", metavar="DIR", help="where the charts of bench/README.md go")
    options = parser.parse_args(arguments)
    if not options.html and not options.svg_dir:
        parser.error("neither --html nor --svg-dir: nothing to do")
    try:
        result = read_result(options.result)
    except BadResult as error:
        return fail(f"{options.result}: {error}")
    except OSError as error:
        return fail(f"{options.result}: {error.strerror}")
    try:
        write(result, options)
    except ImportError as error:
        return fail(f"it needs Debian's python3-matplotlib and python3-jinja2: {error}")
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}")
    return 0


def write(result, options):
    # Only now: matplotlib takes a second, and errors should not.
    import page
    import readme_charts

    if options.html:
        text = page.render(result, os.path.basename(options.result))
        pathlib.Path(options.html).write_text(text, encoding="utf-8")
    if options.svg_dir:
        directory = pathlib.Path(options.svg_dir)
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in readme_charts.draw_all(result).items():
            (directory / name).write_text(text, encoding="utf-8")


def fail(text):
    print(f"report.py: {text}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
