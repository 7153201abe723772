"""One HTML file about finished runs, which needs no network: table, figures, videos, and the stamp of every number.

    contents            which runs it is about, and what each network is called
    scoreboard          Tables 1 and 2, and the tasks outside of them, as rows of a page
    stamps              what each number was made with
    charts              the figures of `rvm_bench.figures`
    scatter             every video's score in every model, and the paired comparison of every two
    again               a run's model and data once more, checked against its stamp
    worst, strips       players: overlays of the worst videos, and features as colours
    sprites             frames as one picture that a slider moves through, and their budget of bytes
    page                all of it as HTML: `page.html.j2`, `style.css`, `script.js`

Statistics are `rvm_bench.tables.comparison`'s and `rvm_bench.tables.run_table`'s; nothing is computed twice.
`docs/report.md` has the command.
"""
