"""A score table as text, Markdown, LaTeX and CSV. The first three round as the paper does; CSV keeps all digits."""

import csv
import io
from collections.abc import Callable

from rvm_bench.tables.columns import AVERAGE_DIGITS, COLUMNS, GROUPS, Column
from rvm_bench.tables.run_list import markdown
from rvm_bench.tables.score_table import MARKS, Row, ScoreTable, Section

Style = Callable[[str], str]
_AVERAGE = "average"


def as_text(table: ScoreTable, *, bold: bool = False) -> str:
    """Aligned columns under two lines of heads and one of groups; the best is bold by ANSI codes, where asked for."""
    parts = []
    for section in table.sections:
        body = _body(section, mark=lambda letters: f"^{letters}")
        heads = [
            ["", "", *(c.heading for c in COLUMNS), "Normalized"],
            ["Model", "Size (M)", *(f"{c.metric} {c.arrow}" for c in COLUMNS), "Avg. ↑"],
        ]
        widths = [
            max(len(line[i]) for line in (*heads, *([text for text, _ in row] for row in body))) for i in range(11)
        ]
        lines = [section.title, _group_line(widths)]
        lines += ["  ".join(_placed(cell, i, widths) for i, cell in enumerate(head)) for head in heads]
        for row in body:
            cells = []
            for i, (text, best) in enumerate(row):
                placed = _placed(text, i, widths)
                cells.append(placed.replace(text, f"\033[1m{text}\033[0m") if best and bold else placed)
            lines.append("  ".join(cells))
        parts.append("".join(f"{line.rstrip()}\n" for line in lines))
    return "\n".join(parts) + _below(table, lambda line: line)


def as_markdown(table: ScoreTable) -> str:
    """One Markdown table for each section, the best in **bold**, marks as superscripts."""
    parts = []
    for section in table.sections:
        groups = "; ".join(f"{name}: {_span(group)}" for group, name in GROUPS.items())
        heads = ["Model", "Size (M)", *(f"{c.heading} {c.metric} {c.arrow}" for c in COLUMNS), "Normalized avg. ↑"]
        rows = _body(section, mark=lambda letters: f"<sup>{letters}</sup>")
        body = [[f"**{text}**" if best else text for text, best in row] for row in rows]
        lines = markdown([heads, *body], ["left", *("right" for _ in heads[1:])])
        parts.append(f"**{section.title}** ({groups})\n\n{lines}")
    below = _below(table, lambda line: f"- {line}")
    return "\n".join(parts) + ("\n" + below.lstrip("\n") if below else "")


def as_latex(table: ScoreTable) -> str:
    """One `tabular` for each section (package booktabs), the best by \\textbf, the legend as comments."""
    parts = []
    for section in table.sections:
        spans = {group: sum(c.group == group for c in COLUMNS) for group in GROUPS}
        groups = [rf"\multicolumn{{{spans[group]}}}{{c}}{{{name}}}" for group, name in GROUPS.items()]
        arrows = {"↑": r"($\uparrow$)", "↓": r"($\downarrow$)"}
        lines = [
            rf"% {section.title}",
            rf"\begin{{tabular}}{{lr{'r' * len(COLUMNS)}r}}",
            r"\toprule",
            rf" & & {' & '.join(groups)} & \\",
            rf"Model & Size (M) & {' & '.join(c.heading for c in COLUMNS)} & Normalized \\",
            rf" & & {' & '.join(_escaped(c.metric) + ' ' + arrows[c.arrow] for c in COLUMNS)} & Avg. {arrows['↑']} \\",
            r"\midrule",
        ]
        for row in _body(section, mark=lambda letters: rf"$^{{{letters}}}$", plain=_escaped):
            cells = " & ".join(rf"\textbf{{{text}}}" if best else text for text, best in row)
            lines.append(rf"{cells} \\")
        lines += [r"\bottomrule", r"\end{tabular}"]
        parts.append("".join(f"{line}\n" for line in lines))
    return "\n".join(parts) + _below(table, lambda line: f"% {line}")


def as_csv(table: ScoreTable) -> str:
    """One line per row: every number with all its digits, its interval and its flags, in the printed unit.

    Columns: table, kind, model, params_m; for each task TASK, TASK_low, TASK_high, TASK_flags; normalized_average.
    Notes are left out.
    """
    text = io.StringIO()
    tasks = [f"{c.task}{part}" for c in COLUMNS for part in ("", "_low", "_high", "_flags")]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["table", "kind", "model", "params_m", *tasks, "normalized_average"])
    for section in table.sections:
        for row in section.rows:
            line: list[object] = [section.table, row.kind, row.model, f"{row.params_m:g}"]
            for column in COLUMNS:
                cell = row.cells.get(column.task)
                if cell is None:
                    line += ["", "", "", ""]
                else:
                    line += [cell.value, *(cell.interval or ("", "")), "; ".join(cell.flags)]
            writer.writerow([*line, "" if row.average is None else row.average])
    return text.getvalue()


def _body(section: Section, *, mark: Style, plain: Style = str) -> list[list[tuple[str, bool]]]:
    """Cells of every row as (text, whether it is the best of its column)."""
    return [_line(section, row, mark, plain) for row in section.rows]


def _line(section: Section, row: Row, mark: Style, plain: Style) -> list[tuple[str, bool]]:
    letters = "".join(MARKS[flag] for flag in row.flags)
    # Below a model the paper's line and the difference are named by what they are.
    name = row.model if row.kind == "ours" or not _compares(section) else f"  {row.kind}"
    size = "" if not row.params_m or name != row.model else f"{row.params_m:g}"
    cells = [(plain(name) + (mark(letters) if letters else ""), False), (size, False)]
    for column in COLUMNS:
        cell = row.cells.get(column.task)
        if cell is None:
            cells.append(("", False))
            continue
        own = "".join(MARKS[flag] for flag in MARKS if flag in cell.flags and flag not in row.flags)
        text = _number(cell.value, column.digits, row) + (mark(own) if own else "")
        cells.append((text, section.is_best(row, column.task)))
    average = "" if row.average is None else _number(row.average, AVERAGE_DIGITS, row)
    return [*cells, (average, section.is_best(row, _AVERAGE))]


def _compares(section: Section) -> bool:
    return len({row.kind for row in section.rows}) > 1


def _number(value: float, digits: int, row: Row) -> str:
    # Adding 0.0 makes a rounded -0.0 a plain zero.
    return f"{round(value, digits) + 0.0:+.{digits}f}" if row.kind == "difference" else f"{value:.{digits}f}"


def _placed(text: str, column: int, widths: list[int]) -> str:
    """The model on the left of its column, numbers on the right of theirs."""
    return f"{text:<{widths[column]}}" if column == 0 else f"{text:>{widths[column]}}"


def _group_line(widths: list[int]) -> str:
    """The names of the groups over dashes, each as wide as its columns."""
    line = " " * (widths[0] + 2 + widths[1])
    start = 2
    for group, name in GROUPS.items():
        count = sum(column.group == group for column in COLUMNS)
        line += "  " + f" {name} ".center(sum(widths[start : start + count]) + 2 * (count - 1), "-")
        start += count
    return line


def _span(group: str) -> str:
    of: list[Column] = [column for column in COLUMNS if column.group == group]
    return f"{of[0].heading} to {of[-1].heading}"


def _below(table: ScoreTable, style: Style) -> str:
    lines = [*table.legend, *table.notes]
    return "\n" + "".join(f"{style(line)}\n" for line in lines) if lines else ""


def _escaped(text: str) -> str:
    """Text with the characters that LaTeX reserves escaped."""
    named = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(named.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)
