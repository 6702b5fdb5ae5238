"""A report section of your own in one file: the energy of the actions in the stream, with a plot.

Run it with `python examples/report_section.py`; it takes some seconds on a CPU. A package offers the same section
through the entry-point group `robossl.report_sections`; then every report has it.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

import robossl
from robossl.evaluation.report.plots import canvas, svg
from robossl.evaluation.report.section import Section, Unavailable

TEMPLATE = """
{% import "macros.html.j2" as m %}
<p>Mean squared action of {{ data.n }} held-out episodes: {{ data.mean|number }}.</p>
{{ m.plot(plot, "Mean squared action of each episode", "Mean squared action of each held-out episode.") }}
"""


def compute(context):
    """Return the mean squared action of each test episode: the key "action_energy" of report.json."""
    if context.stream is None:
        raise Unavailable("no stream was given")
    episodes = context.stream.episodes("test")
    actions = [context.stream.read(e.lane, e.start, e.stop, ["action"])["action"] for e in episodes]
    energies = [float(np.mean(np.square(a))) for a in actions]
    return {"mean": float(np.mean(energies)), "n": len(energies), "energies": energies}


def plot_energies(data, report, folder):
    """Return the variable `plot` of the template."""
    with canvas(1.8) as (figure, axes):
        axes.bar(range(data["n"]), data["energies"], color="#0f7c8a")
        axes.set_xlabel("episode")
        axes.set_ylabel("mean squared action")
        return {"plot": svg(figure)}


SECTION = Section(
    name="action_energy",
    title="Action energy",
    compute=compute,
    template=TEMPLATE,
    summary=lambda data: [f"The held-out actions have a mean square of {data['mean']:.2f}."],
    view=plot_energies,
    order=350,
)


def main() -> None:
    """Evaluate a tiny world model and print the section from report.json and report.html."""
    robossl.register("report_sections", SECTION.name, SECTION)
    with tempfile.TemporaryDirectory() as folder:
        stream = robossl.collect("robossl/Reacher-v0", steps=6_400, out=Path(folder) / "stream")
        config = robossl.WorldModelConfig(
            latent_dim=8, encoder_hidden=(32,), dynamics_hidden=(32,), batch_size=64
        )
        model = robossl.pretrain(stream, updates=20, config=config, out=Path(folder) / "model")
        robossl.evaluate(model, stream, out=Path(folder) / "evaluation", goal_trials=0, videos=False)
        report = json.loads((Path(folder) / "evaluation" / "report.json").read_text(encoding="utf-8"))
        page = (Path(folder) / "evaluation" / "report.html").read_text(encoding="utf-8")
        print("report.json:", report["action_energy"])
        print("report.html:", '<section id="action_energy"' in page and "Action energy" in page)


if __name__ == "__main__":
    main()
