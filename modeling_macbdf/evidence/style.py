"""The look of the parts: one sheet for the report file and for the demo."""

# Dark and light through light-dark(): the page says which with `color-scheme`.
VARIABLES = """
:root { --m-ink: light-dark(#1d2430, #e8ecf2); --m-soft: light-dark(#5b6675, #a3aebd);
  --m-paper: light-dark(#ffffff, #14181f); --m-panel: light-dark(#f3f5f8, #1f2530);
  --m-line: light-dark(#d5dae1, #3a4352); --m-real: light-dark(#1b7f4d, #4cc38a);
  --m-fake: light-dark(#b3261e, #ff8a80); --m-inconclusive: light-dark(#8a6100, #f0b849); }
"""

PARTS = """
.m-card { border: 1px solid var(--m-line); border-left: 8px solid var(--m-soft); border-radius: 8px;
  padding: 12px 16px;  background: var(--m-panel); color: var(--m-ink); min-height: 150px; }
.m-card h2 { margin: 0 0 6px; font-size: 1.5rem; color: var(--m-ink); }
.m-card.m-real { border-left-color: var(--m-real); } .m-card.m-fake { border-left-color: var(--m-fake); }
.m-card.m-inconclusive { border-left-color: var(--m-inconclusive); }
.m-card p { margin: 4px 0; } .m-small.m-small { font-size: .85rem; color: var(--m-soft); margin: 4px 0; }
.m-scale { position: relative; display: flex; height: 14px; margin: 8px 0; }
.m-zone { opacity: .55; } .m-zone.m-real { background: var(--m-real); border-radius: 7px 0 0 7px; }
.m-zone.m-fake { background: var(--m-fake); border-radius: 0 7px 7px 0; }
.m-zone.m-inconclusive { background: var(--m-inconclusive); }
.m-scale b { position: absolute; top: -4px; width: 4px; height: 22px; margin-left: -2px; background: var(--m-ink);
  border-radius: 2px; }
.m-table.m-table.m-table, .m-table.m-table.m-table :is(tbody, tr) { border: 0; }
.m-table { border-collapse: collapse; width: 100%; }
.m-table.m-table th, .m-table.m-table td { text-align: left; padding: 4px 8px; border: 0;
  border-bottom: 1px solid var(--m-line); color: var(--m-ink); vertical-align: top; }
.m-table.m-table th { white-space: nowrap; overflow-wrap: normal; } .m-table td:last-child { overflow-wrap: anywhere; }
.m-timeline { position: relative; padding: 4px 0; border-radius: 6px; cursor: pointer; }
.m-timeline:focus-visible { outline: 3px solid var(--m-inconclusive); outline-offset: 2px; }
.m-lane { display: flex; align-items: center; margin: 3px 0; color: var(--m-ink); }
.m-lane span { width: 5.5rem; flex: none; font-size: .85rem; }
.m-track { flex: 1; height: 34px; background: var(--m-panel); border: 1px solid var(--m-line); overflow: hidden; }
.m-track svg { width: 100%; height: 100%; display: block; } .m-track em { font-size: .85rem; color: var(--m-soft);
  padding-left: 8px; line-height: 32px; }
.m-thin .m-track { height: 14px; } .m-track rect.m-real { fill: var(--m-real); }
.m-track rect.m-fake { fill: var(--m-fake); } .m-track rect.m-inconclusive { fill: var(--m-inconclusive); }
.m-track rect.m-step { fill: var(--m-ink); } .m-track line { stroke: var(--m-soft); stroke-width: .6;
  stroke-dasharray: 1.5 1; }
.m-playhead { position: absolute; top: 0; bottom: 0; left: 5.5rem; width: 2px; background: var(--m-ink);
  pointer-events: none; }
.m-axis { display: flex; justify-content: space-between; padding-left: 5.5rem; }
.m-face { margin: 8px 0; color: var(--m-ink); } .m-face p { margin: 2px 0; }
.m-picture { max-width: 100%; height: auto; border-radius: 4px; display: block; }
"""

PAGE = """
:root { color-scheme: light dark; }
body { margin: 0 auto; max-width: 860px; padding: 16px; font: 16px/1.5 system-ui, sans-serif; color: var(--m-ink);
  background: var(--m-paper); overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; } h3 { margin: 20px 0 4px; }
article { border-top: 2px solid var(--m-line); padding: 8px 0 24px; }
details { margin: 8px 0; } summary { cursor: pointer; } details table { border-collapse: collapse; }
details td, details th { border: 1px solid var(--m-line); padding: 2px 8px; } .m-timeline { cursor: default; }
pre { white-space: pre-wrap; } a { color: inherit; }
@media print { details > * { display: block; } }
"""
