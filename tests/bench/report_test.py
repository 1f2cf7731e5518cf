"""The report of a benchmark (bench/report), made from results that are made up."""
import contextlib
import html.parser
import io
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
import warnings
import xml.etree.ElementTree

REPORT = pathlib.Path(__file__).resolve().parents[2] / "bench" / "report"
sys.path.insert(0, str(REPORT))

import report  # noqa: E402
import report_sample  # noqa: E402

VOID = {"meta", "link", "br", "img", "input", "hr"}
README_CHARTS = {"cpu.svg", "latency.svg", "memory.svg", "growth.svg", "timers.svg"}


class Page(html.parser.HTMLParser):
    """What a reader sees, and what a browser would have to fetch; complains of tags out of order."""

    def __init__(self, text):
        super().__init__()
        self.open = []
        self.tags = []
        self.ids = []
        self.references = []
        self.words = []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        attributes = dict(attributes)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            if name in attributes:
                self.references.append(attributes[name])
        self.references += re.findall(r"url\(([^)]*)\)", attributes.get("style") or "")
        self.references += re.findall(r"url\(([^)]*)\)", attributes.get("clip-path") or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open and self.open[-1] == tag, f"</{tag}> inside {self.open}"
            self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


class ReportTest(unittest.TestCase):
    whole = None

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.sample = report_sample.full()

    def run_report(self, *arguments):
        """Its status and what it said."""
        said = io.StringIO()
        with contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("error")
            status = report.main([str(argument) for argument in arguments])
        return status, said.getvalue()

    def write(self, text):
        path = self.directory / "result.json"
        path.write_text(text, encoding="utf-8")
        return path

    def raw_page(self, result):
        target = self.directory / "report.html"
        self.assertEqual(self.run_report(self.write(json.dumps(result)), "--html", target), (0, ""))
        return target.read_text(encoding="utf-8")

    def page(self, result):
        return Page(self.raw_page(result))

    def whole_page(self):
        """Of the whole sample: several look at it, and it takes a while."""
        if not ReportTest.whole:
            ReportTest.whole = self.raw_page(report_sample.full())
        return ReportTest.whole

    def charts(self, result):
        target = self.directory / "svg"
        self.assertEqual(
            self.run_report(self.write(json.dumps(result)), "--svg-dir", target), (0, "")
        )
        return {path.name: path.read_text(encoding="utf-8") for path in target.iterdir()}

    def refused(self, text, *wanted):
        path = self.write(text)
        status, said = self.run_report(path, "--html", self.directory / "report.html")
        self.assertEqual(status, 1)
        for part in (str(path), *wanted):
            self.assertIn(part, said)
        self.assertEqual(said.count("\n"), 1)
        self.assertFalse((self.directory / "report.html").exists())

    # What is in it.

    def test_a_whole_result_shows_who_ran_what_where_and_when(self):
        text = Page(self.whole_page()).text
        for part in ("AMD EPYC 7B13", "2 processors", "Linux 6.18.44", "GCC 12.2.0 -O3 -DNDEBUG",
                     "2026-11-21 15:00:00 UTC", "./dev bench", "7 rounds of 1 s", "libuv 1.44.2",
                     "result.json"):  # fmt: skip
            self.assertIn(part, text)
        for workload in self.sample["workloads"]:
            self.assertIn(workload["title"], text)
        for micro in self.sample["micro"]:
            self.assertIn(micro["title"], text)

    def test_targets_count_as_reached_by_the_median(self):
        verdicts = [
            (1.029, 1.01, 1.05, "✓ reached"),
            (1.03, 1.01, 1.05, "✓ reached"),
            (1.031, 1.01, 1.05, "✗ missed (quartiles reach it)"),
            (1.05, 1.04, 1.06, "✗ missed"),
        ]
        for median, low, high, verdict in verdicts:
            result = self.only("raw-64-c1")
            ours = self.score(result, "millrace")
            ours["ratio_cpu"] = {"low": low, "median": median, "high": high}
            text = self.page(result).text
            self.assertIn(f"{median:.3f} {low:.3f} – {high:.3f}", text)
            self.assertIn(f"1.03 {verdict}", text)
            self.assertEqual("(quartiles reach it)" in text, "quartiles" in verdict)
            reached = int(verdict.startswith("✓"))
            self.assertIn(f"{reached} of 1 targets reached", text)

    def test_whoever_fails_reaches_no_target_and_its_errors_are_told(self):
        result = self.only("raw-64-c1")
        self.score(result, "millrace")["errors"] = ["3 x wrong bytes"]
        text = self.page(result).text
        self.assertIn("0 of 1 targets reached", text)
        self.assertIn("millrace: 3 x wrong bytes", text)

    def test_the_best_peer_is_the_cheapest_without_errors(self):
        result = self.only("raw-64-c1")
        for name, ratio in (("libuv", 0.5), ("libev", 0.6)):
            self.score(result, name)["ratio_cpu"] = report_sample.spread(ratio)
        self.score(result, "libuv")["errors"] = ["1 x closed by the server"]
        text = self.page(result).text
        self.assertIn("0.600 libev", text)
        self.assertIn("0 of 1 workloads at less CPU than every peer", text)

    def test_a_full_client_is_named(self):
        result = self.only("raw-64-c1")
        before = self.page(result).text.count("client-bound")
        self.score(result, "libuv")["client_bound"] = True
        self.assertEqual(self.page(result).text.count("client-bound"), before + 1)

    def test_memory_and_operations_have_targets_too(self):
        self.sample["workloads"] = []
        self.sample["memory"]["target"] = 177  # idle 176, echo 178, burst 187, again 187
        self.sample["micro"] = self.sample["micro"][:1]  # 7.1, 7.0, 7.2 of 6, 8, 10
        self.assertIn("3 of 7 targets reached, 4 missed", self.page(self.sample).text)

    def test_the_absent_are_named_with_the_reason(self):
        self.assertIn("muduo it is not packaged by Debian", Page(self.whole_page()).text)

    def test_everybody_has_a_line_in_the_curves_of_latency(self):
        # Nothing but the line and the columns of its table is different without one.
        result = self.only("raw-64-c1")
        with_all = self.raw_page(result).count("<path")
        score = self.score(result, "libuv")
        score["latency_ns"] = score["latency_curve"] = None
        self.assertEqual(self.raw_page(result).count("<path"), with_all - 1)

    def test_percentiles_stand_in_for_a_curve(self):
        result = self.only("raw-64-c1")
        for score in result["workloads"][0]["results"]:
            score["latency_curve"] = None
        self.assertIn("99.99", self.page(result).text)
        self.assertIn("latency.svg", self.charts(result))

    # How it is made.

    def test_the_page_needs_nothing_else(self):
        text = self.whole_page()
        page = Page(text)
        self.assertEqual(page.tags.count("script"), 0)
        self.assertEqual([r for r in page.references if not r.startswith("#")], [])
        self.assertGreater(len(page.references), 50)
        self.assertNotRegex(re.sub(r'xmlns(:\w+)?="[^"]*"', "", text), "https?:|@import|@font-face")

    def test_ids_are_unique_and_references_lead_somewhere(self):
        page = Page(self.whole_page())
        self.assertEqual(len(page.ids), len(set(page.ids)))
        self.assertEqual({r[1:] for r in page.references} - set(page.ids), set())

    def test_every_colour_is_the_pages(self):
        charts = self.whole_page().split("<body>")[1]
        self.assertEqual(set(re.findall("#[0-9a-f]{6}\\b", charts)), set())

    def test_the_charts_of_the_readme_are_whole_files_on_paper_of_their_own(self):
        charts = self.charts(self.sample)
        self.assertEqual(set(charts), README_CHARTS)
        for name, text in charts.items():
            root = xml.etree.ElementTree.fromstring(text)
            self.assertEqual(root.tag, "{http://www.w3.org/2000/svg}svg", name)
            words = " ".join(node.text for node in root.iter("{http://www.w3.org/2000/svg}text"))
            self.assertIn("millrace", words, name)
            self.assertIn('style="fill: #ffffff"', text[:600], name)
            self.assertNotIn("var(", text, name)
            self.assertNotRegex(re.sub(r'xmlns(:\w+)?="[^"]*"', "", text), "https?:")

    def test_the_same_result_gives_the_same_charts(self):
        result = self.small()
        self.assertEqual(self.charts(result), self.charts(result))

    # What others have written.

    def test_hostile_texts_stay_text(self):
        evil = '<script>alert("1")</script>&amp;$\\frac{$\'\x00\u2028--></svg>'
        for contestant in self.sample["contestants"]:
            contestant["title"] = contestant["version"] = evil
        self.sample["contestants"][-1]["absent"] = evil
        self.sample["machine"] = dict.fromkeys(("cpu", "kernel", "compiler", "flags"), evil)
        self.sample["date"] = self.sample["command"] = evil
        first = self.sample["workloads"][0]
        first |= dict.fromkeys(("id", "title", "group", "unit", "kind"), evil)
        first["results"][0]["errors"] = [evil]
        first["results"][0]["system_calls"] = {evil: 1}
        first["results"][0]["latency_ns"][evil] = 1
        first["results"][0]["latency_curve"] = None
        self.sample["micro"][0] |= dict.fromkeys(("id", "title", "unit", "argument"), evil)
        self.sample["growth"]["timers"]["ns"][evil] = self.sample["growth"]["timers"]["ns"]["start"]
        page = self.page(self.sample)
        self.assertNotIn("script", page.tags)
        self.assertIn('<script>alert("1")</script>&amp;$\\frac', page.text)
        for text in self.charts(self.sample).values():
            root = xml.etree.ElementTree.fromstring(text)
            self.assertEqual(root.findall(".//{*}script"), [])

    def test_every_part_may_be_missing(self):
        facts = ("date", "command", "rounds", "round_seconds", "machine")
        for gone in (*((fact,) for fact in facts), (*facts, "memory", "micro", "growth")):
            result = self.only("raw-64-c1") | dict.fromkeys(gone)
            self.assertNotIn("None", self.page(result).text)
            for key in gone:
                del result[key]
            self.assertNotIn("None", self.page(result).text)
        for key, left in (("memory", README_CHARTS - {"memory.svg"}), ("micro", README_CHARTS),
                          ("growth", README_CHARTS - {"growth.svg", "timers.svg"})):  # fmt: skip
            result = self.small()
            del result[key]
            self.page(result)
            self.assertEqual(set(self.charts(result)), left)
            for chart in (self.directory / "svg").iterdir():
                chart.unlink()
        for part in ("connections", "timers"):
            result = self.small()
            del result["growth"][part]
            self.page(result)

    def test_parts_that_were_not_measured_are_said_to_be_missing(self):
        for key in ("memory", "micro", "growth"):
            del self.sample[key]
        self.sample["workloads"] = []
        page = self.page(self.sample)
        self.assertIn("The result has no workloads", page.text)
        self.assertEqual(page.text.count("Was not measured"), 2)
        self.assertEqual(page.text.count("Were not measured"), 1)
        self.assertEqual(self.charts(self.sample), {})

    def test_every_optional_figure_may_be_null(self):
        result = self.small()
        for workload in result["workloads"]:
            workload["target"] = None
            for score in workload["results"]:
                score |= {key: None for key in score if key != "contestant"}
        result["memory"] |= {"target": None, "results": [{"contestant": "millrace", "idle": None}]}
        for micro in result["micro"]:
            micro["targets"] = None
            for line in micro["results"]:
                line["values"] = [None] * max(1, len(micro["arguments"]))
        for part in (
            result["growth"]["connections"]["cpu_ns"],
            result["growth"]["timers"]["ns"]["start"],
        ):
            for name in part:
                part[name] = [None] * len(part[name])
        page = self.page(result)
        self.assertIn("not measured", page.text)
        self.charts(result)

    def test_a_round_in_which_nothing_was_measured_is_no_measurement(self):
        result = self.only("raw-64-c1")
        nothing = {"low": 0, "median": 0, "high": 0}
        ours = self.score(result, "millrace")
        ours |= {
            "rate": nothing,
            "cpu_ns": nothing,
            "ratio_cpu": nothing,
            "errors": ["1 x refused"],
        }
        text = self.page(result).text
        self.assertIn("failed", text)
        self.assertNotIn("targets reached", text)

    def test_a_single_round_has_no_quartiles(self):
        result = self.only("raw-64-c1")
        result["rounds"] = 1
        for score in result["workloads"][0]["results"]:
            for key in ("rate", "cpu_ns", "ratio_cpu", "ratio_rate"):
                score[key] = dict.fromkeys(("low", "median", "high"), score[key]["median"])
        text = self.page(result).text
        self.assertIn("1 round of 1 s", text)
        self.assertIn("one round", text)

    def test_two_contestants_are_enough(self):
        for names in (("raw", "millrace"), ("raw", "libuv"), ("millrace", "libuv")):
            result = self.keep(self.small(), names)
            result["reference"] = names[0]
            page = self.page(result)
            self.charts(result)
            self.assertEqual("targets reached" in page.text, names != ("raw", "libuv"))

    def test_without_ratios_the_bars_are_nanoseconds(self):
        result = self.only("raw-64-c1")
        for score in result["workloads"][0]["results"]:
            score["ratio_cpu"] = None
        text = self.page(result).text
        self.assertRegex(text, "CPU per message ?, ns")

    def test_who_is_not_listed_is_shown_by_its_name(self):
        self.sample = self.small()
        self.sample["micro"][0]["results"].append({"contestant": "newcomer", "values": [1, 2, 3]})
        self.assertIn("newcomer", self.page(self.sample).text)

    def test_bad_input_is_refused_with_its_place(self):
        sample = json.dumps(self.sample)
        self.refused("", "is not JSON")
        self.refused("{", "is not JSON")
        self.refused("[" * 100000, "nested too deeply")
        self.refused('{"format": NaN}', "NaN")
        self.refused("[]", "the file is a list, not an object")
        self.refused("{}", "format is missing")
        self.refused(sample.replace("millrace-bench 1", "millrace-bench 2"), '"millrace-bench 2"')
        self.refused(sample.replace('"rounds": 7', '"rounds": true'), "rounds is true or false")

    def test_missing_keys_are_named(self):
        for key in ("format", "reference", "contestants", "workloads"):
            self.refused(self.changed(lambda r: r.pop(key)), f"{key} is missing")
        for key in ("id", "title", "results"):
            self.refused(self.changed(lambda r: r["workloads"][2].pop(key)),
                         f"workloads[2].{key} is missing")  # fmt: skip

    def test_values_of_a_wrong_kind_are_named(self):
        def first(result):
            return result["workloads"][0]["results"][1]

        place = "workloads[0].results[1]"
        wrong = [
            (lambda r: r.update(workloads={}), "workloads is an object, not a list"),
            (lambda r: first(r).update(contestant=5), f"{place}.contestant is a number, not a string"),
            (lambda r: first(r).update(cpu_ns=5), f"{place}.cpu_ns is a number, not an object"),
            (lambda r: first(r)["rate"].pop("low"), f"{place}.rate.low is missing"),
            (lambda r: first(r).update(client_bound="no"), f"{place}.client_bound is a string"),
            (lambda r: first(r).update(user_ns=10**400), f"{place}.user_ns is too large"),
            (lambda r: first(r).update(latency_curve=[[0.5]]), f"{place}.latency_curve[0] has 1 values"),
            (lambda r: first(r).update(latency_curve=[[50, 1]]), f"{place}.latency_curve[0] has a share of 50"),
            (lambda r: r["micro"][0]["targets"].pop(), "micro[0].targets has 2 values, not 3"),
            (lambda r: r["micro"][0]["results"][3]["values"].pop(), "micro[0].results[3].values has 2"),
            (lambda r: r["growth"]["timers"]["live"].pop(), "growth.timers.ns.start.raw has 5 values, not 4"),
            (lambda r: r["growth"]["connections"].update(counts=[0] * 6), "counts[0] is 0, not positive"),
            (lambda r: r["contestants"].append(r["contestants"][0]), '"raw" is there twice'),
        ]  # fmt: skip
        for change, complaint in wrong:
            self.refused(self.changed(change), complaint)

    def test_a_file_that_is_not_there_is_named(self):
        status, said = self.run_report(
            self.directory / "nothing.json", "--html", self.directory / "x"
        )
        self.assertEqual(status, 1)
        self.assertIn("nothing.json: No such file", said)

    def test_a_place_that_cannot_be_written_is_named(self):
        target = self.directory / "no" / "report.html"
        status, said = self.run_report(self.write(json.dumps(self.small())), "--html", target)
        self.assertEqual(status, 1)
        self.assertIn(f"{target}: No such file", said)

    def test_the_program_ends_with_the_status(self):
        program = [
            sys.executable,
            "-B",
            str(REPORT / "report.py"),
            str(self.write("{")),
            "--html",
            "x",
        ]
        ended = subprocess.run(
            program, cwd=self.directory, capture_output=True, text=True, timeout=60
        )
        self.assertEqual(ended.returncode, 1)
        self.assertIn("result.json: is not JSON", ended.stderr)

    # Helpers.

    def small(self):
        """All kinds of parts, few workloads."""
        result = report_sample.full()
        result["workloads"] = [w for w in result["workloads"] if w["id"] in ("raw-64-c1", "churn")]
        result["micro"] = result["micro"][:1] + result["micro"][-2:]
        result["growth"]["timers"]["ns"] = {"start": result["growth"]["timers"]["ns"]["start"]}
        return result

    def only(self, identity):
        """One workload and nothing else."""
        result = report_sample.full()
        result["workloads"] = [w for w in result["workloads"] if w["id"] == identity]
        for key in ("memory", "micro", "growth"):
            del result[key]
        return result

    def keep(self, result, names):
        result["contestants"] = [c for c in result["contestants"] if c["name"] in names]
        for part in (*result["workloads"], result["memory"], *result["micro"]):
            part["results"] = [line for line in part["results"] if line["contestant"] in names]
        connections, timers = result["growth"]["connections"], result["growth"]["timers"]
        for lines in (connections["cpu_ns"], connections["memory_bytes"], timers["ns"]["start"]):
            for name in set(lines) - set(names):
                del lines[name]
        return result

    def score(self, result, name):
        return next(s for s in result["workloads"][0]["results"] if s["contestant"] == name)

    def changed(self, change):
        result = report_sample.full()
        change(result)
        return json.dumps(result)


if __name__ == "__main__":
    unittest.main()
