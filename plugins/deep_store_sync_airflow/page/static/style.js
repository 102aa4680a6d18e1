// The host's theme is in Chakra's variables, and dark mode is a class on <html>.
export const style = `
.dss { --line: var(--chakra-colors-border, #d4d4d8); --muted: var(--chakra-colors-fg-muted, #52525b);
  --text: var(--chakra-colors-fg, #18181b); --panel: var(--chakra-colors-bg, #fff); --hover: var(--chakra-colors-bg-muted, #f4f4f5);
  --link: var(--chakra-colors-fg-info, #1d4ed8); --bad: #b91c1c;
  --in-sync: #2f855a; --out-of-sync: #dd6b20; --unknown: #718096; --incurable: #805ad5; --not-eligible: #a0aec0;
  color: var(--text); font-size: 14px; line-height: 1.45; height: 100%; overflow-y: auto; }
.dark .dss { --bad: #fca5a5; --in-sync: #48bb78; --out-of-sync: #ed8936; --unknown: #a0aec0; --incurable: #b794f4; --not-eligible: #4a5568; }
.dss main { padding: 16px; max-width: 1400px; }
.dss h1 { font-size: 20px; font-weight: 600; }
.dss h2 { font-size: 16px; font-weight: 600; margin: 0 0 8px; }
.dss section { margin-top: 24px; }
.dss header { display: flex; flex-wrap: wrap; gap: 16px; justify-content: space-between; align-items: flex-start; }
.dss a { color: var(--link); } .dss a:hover { text-decoration: underline; }
.dss .muted, .dss small { color: var(--muted); } .dss small { display: block; font-size: 12px; font-weight: 400; } .dss .bad { color: var(--bad); }
.dss table { border-collapse: collapse; width: 100%; margin-top: 8px; }
.dss th, .dss td { text-align: left; padding: 6px 10px; border-bottom: 1px solid var(--line); vertical-align: top; font-weight: 400; }
.dss thead th { color: var(--muted); font-size: 12px; } .dss tbody tr:hover { background: var(--hover); }
.dss time, .dss .state { white-space: nowrap; }
.dss .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.dss .code { font-family: ui-monospace, monospace; font-size: 12.5px; overflow-wrap: anywhere; }
.dss button { border: 1px solid var(--line); border-radius: 6px; padding: 5px 12px; background: transparent; color: var(--text); cursor: pointer; }
.dss button:hover:not(:disabled) { background: var(--hover); } .dss button:disabled { opacity: .5; cursor: default; }
.dss button.primary { background: #2563eb; border-color: #2563eb; color: #fff; }
.dss :is(button, a, input):focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
.dss input[type=search] { border: 1px solid var(--line); border-radius: 6px; padding: 5px 10px; width: min(360px, 100%); margin-top: 8px; background: transparent; color: var(--text); }
.dss .cards { display: flex; flex-wrap: wrap; gap: 12px; margin-top: 16px; }
.dss .card { flex: 1 1 150px; text-align: left; padding: 10px 14px; border-left: 5px solid var(--own); }
.dss .card strong { display: block; font-size: 24px; font-weight: 600; font-variant-numeric: tabular-nums; }
.dss [aria-pressed=true] { outline: 2px solid var(--own, var(--link)); background: var(--hover); }
.dss .reasons { list-style: none; padding: 0; } .dss .reasons button { display: flex; gap: 8px; align-items: baseline; text-align: left; border: 0; padding: 3px 6px; width: 100%; }
.dss .reasons .number { min-width: 4em; }
.dss .dot { display: inline-block; flex: none; width: 9px; height: 9px; border-radius: 50%; background: var(--own); margin-right: 6px; }
.dss .shares { display: flex; width: 160px; height: 12px; margin-top: 4px; border-radius: 6px; overflow: hidden; background: var(--line); }
.dss .shares span { background: var(--own); min-width: 2px; }
.dss .state-in-sync { --own: var(--in-sync); } .dss .state-out-of-sync { --own: var(--out-of-sync); } .dss .state-unknown { --own: var(--unknown); }
.dss .state-incurable { --own: var(--incurable); } .dss .state-not-eligible { --own: var(--not-eligible); }
.dss .plot { width: 100%; max-width: 900px; height: auto; } .dss .plot rect { fill: var(--own); } .dss .plot text { fill: var(--muted); font-size: 11px; }
.dss .plot .grid { stroke: var(--line); } .dss .legend { display: flex; flex-wrap: wrap; gap: 16px; color: var(--muted); }
.dss .bar { height: 12px; margin: 8px 0; border-radius: 6px; overflow: hidden; background: var(--line); } .dss .bar span { display: block; height: 100%; background: var(--in-sync); }
.dss .running { border: 1px solid var(--line); border-radius: 8px; padding: 12px 16px; }
.dss .problem { margin: 12px 0; padding: 10px 14px; border: 1px solid var(--bad); border-radius: 6px; color: var(--bad); overflow-wrap: anywhere; }
.dss .problem button { margin-left: 12px; }
.dss .actions { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; } .dss .pager { display: flex; gap: 12px; align-items: center; margin-top: 10px; }
.dss dialog { margin: auto; max-width: 560px; padding: 20px 24px; border: 1px solid var(--line); border-radius: 10px; background: var(--panel); color: var(--text); }
.dss dialog::backdrop { background: rgb(0 0 0 / .5); } .dss dialog p { margin: 8px 0; } .dss dialog ul { margin: 0 0 0 20px; list-style: disc; }
.dss .buttons { display: flex; justify-content: flex-end; gap: 8px; margin-top: 16px; }
`;
