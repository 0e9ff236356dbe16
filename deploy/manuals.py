#!/usr/bin/env python3
"""Manual pages and shell completions, made of what the program, its configuration, the protocol and the client's header
say of themselves: nothing is written twice.

    deploy/manuals.py --mete build/mete --version V --out build/manuals

    mete.1            `mete help`, and --help of each command
    mete.yaml.5       src/config/commented.yaml, which `mete config init` writes
    mete-protocol.7   proto-spec/protocol.md
    mete_client.3     include/mete/client.h
    mete.bash, _mete, mete.fish"""

import argparse
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
OPTION = re.compile(r"^  (-\S.*?)(?:  +(.*))?$")
DEEP = re.compile(r"^ {6,}(\S.*)$")


def escape(text):
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return "\\&" + text if text[:1] in ".'" or text.startswith("\\(aq") else text


def inline(text):
    """Markdown's `code` and **bold** in a line."""
    parts = re.split(r"(`[^`]+`|\*\*[^*]+\*\*)", re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text))
    out = []
    for part in parts:
        if part.startswith("`") and len(part) > 1:
            out.append("\\fB" + escape(part[1:-1]).removeprefix("\\&") + "\\fP")
        elif part.startswith("**"):
            out.append("\\fB" + escape(part[2:-2]).removeprefix("\\&") + "\\fP")
        else:
            out.append(escape(part))
    line = "".join(out)
    return "\\&" + line if line[:1] in ".'" else line


def heading(name, section, version, what):
    return [f"'\\\" t\n.TH {name} {section} \"\" \"mete {version}\" \"mete\"", ".SH NAME", f"{escape(name)} \\- {escape(what)}", ".ad l"]


# ---- mete(1) ----

def help_of(mete, *words):
    done = subprocess.run([mete, *words], text=True, capture_output=True, check=True, stdin=subprocess.DEVNULL)
    return done.stdout


def commands_of(mete):
    """(name, one line) of each command, as `mete help` lists them."""
    return re.findall(r"^  (\w+) {2,}(\S.*)$", help_of(mete, "help"), re.M)


def options_of(text):
    """(options, description) of each option that a help text explains."""
    found, lines = [], text.splitlines()
    for at, line in enumerate(lines):
        match = OPTION.match(line)
        if not match:
            continue
        words = [match[2] or ""]
        for following in lines[at + 1:]:
            deep = DEEP.match(following)
            if not deep:
                break
            words.append(deep[1])
        found.append((match[1], " ".join(word for word in words if word)))
    return found


def help_to_roff(text):
    """A help text: usage, options, examples (two spaces), paragraphs."""
    out, in_option, in_example = [], False, False
    for line in text.splitlines():
        option, deep = OPTION.match(line), DEEP.match(line)
        is_usage = line.startswith("usage: ") or (line.startswith("       mete") and not in_option)
        if in_example and not (line.startswith("  ") and not option):
            out.append(".EE")
            in_example = False
        if is_usage:
            out += [".br" if out else ".P", "\\fB" + escape(line.removeprefix("usage:").strip()) + "\\fP"]
        elif option:
            out += [".TP", "\\fB" + escape(option[1]).removeprefix("\\&") + "\\fP", escape(option[2] or "")]
            in_option = True
        elif deep and in_option:
            out.append(escape(deep[1]))
        elif line.startswith("  "):
            if not in_example:
                out += [".P", ".EX"]
                in_example = True
            out.append(escape(line))
            in_option = False
        elif not line:
            out.append(".P")
            in_option = False
        else:
            if in_option or re.match(r"exit status", line, re.I):
                out.append(".P")
                in_option = False
            out.append(escape(line))
    if in_example:
        out.append(".EE")
    kept = []
    for line in out:  # a paragraph begins once, and not before something that begins by itself
        if kept and kept[-1] == ".P" and line in (".P", ".TP"):
            kept.pop()
        kept.append(line)
    while kept and kept[-1] == ".P":
        kept.pop()
    return [line for line in kept if line]


def page_mete(mete, version):
    listing = help_of(mete, "help")
    title = listing.split("\n", 1)[0].removeprefix("mete: ")
    out = heading("mete", 1, version, title)
    out += [".SH SYNOPSIS", "\\fBmete\\fP \\fICOMMAND\\fP [\\fIOPTION\\fP...]", ".SH DESCRIPTION",
            "One program: the daemon, what asks it, and what its operators need. Each command says the same of itself with",
            "\\fB\\-\\-help\\fP."]
    for name, what in commands_of(mete):
        out += [f".SH {name.upper()}", escape(what[0].upper() + what[1:] + ("" if what.endswith("?") else "."))]
        out += help_to_roff(help_of(mete, name, "--help"))
    status = re.search(r"^exit status: (.*)$", listing, re.M)
    out += [".SH EXIT STATUS", escape(status[1]) + "." if status else "",
            ".SH SEE ALSO", ".BR mete.yaml (5),", ".BR mete\\-protocol (7),", ".BR mete_client (3)"]
    return out


# ---- mete.yaml(5) ----

def settings(text):
    """(path, value, comment) of every setting of the commented file, in its order. A comment that no setting follows
    has no path."""
    found, comment, stack = [], [], []
    for line in text.splitlines():
        said = re.match(r"^\s*# (.*)$", line)
        if said:
            comment.append(said[1])
            continue
        if not line.strip():
            if comment:
                found.append(("", "", " ".join(comment)))
            comment = []
            continue
        bare = re.sub(r"^(\s*)#", r"\1", line)
        match = re.match(r"^(\s*)(- )?([\w]+):\s*(.*)$", bare)
        if match:
            depth = len(match[1]) + len(match[2] or "")
            while stack and stack[-1][0] >= depth:
                stack.pop()
            path = ".".join([name for _, name in stack] + [match[3]])
            stack.append((depth, match[3]))
            value = match[4]
        else:
            path, value = ".".join(name for _, name in stack), bare.strip().removeprefix("- ")
        found.append((path, value, " ".join(comment)))
        comment = []
    return found


def page_yaml(version):
    text = (ROOT / "src/config/commented.yaml").read_text()
    out = heading("mete.yaml", 5, version, "the configuration of mete(1)")
    out += [".SH DESCRIPTION"]
    for path, value, comment in settings(text):
        if not path:
            out += [".P", inline(comment)]
            continue
        if comment:
            if ".SH SETTINGS" not in out:
                out.append(".SH SETTINGS")
            line = "\\fB" + escape(path) + "\\fP" + (": " + escape(value).removeprefix("\\&") if value else "")
            out += [".TP", line, inline(comment)]
        elif value and ".SH SETTINGS" in out:
            out += [".br", "\\fB" + escape(path) + "\\fP: " + escape(value).removeprefix("\\&")]
    out += [".SH EXAMPLE", ".EX", *[escape(line) for line in text.splitlines()], ".EE",
            ".SH SEE ALSO", ".BR mete (1)"]
    return out


# ---- mete-protocol(7) ----

def table_to_roff(rows):
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip().strip("|"))] for row in rows]
    cells = [row for row in cells if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]
    columns = max(len(row) for row in cells)
    out = [".TS", "allbox;", " ".join(["lb"] * columns), " ".join(["l"] * (columns - 1) + ["lx"]) + "."]
    for row in cells:
        row += [""] * (columns - len(row))
        out.append("\t".join("T{\n" + inline(cell) + "\nT}" if len(cell) > 24 else inline(cell) for cell in row))
    return out + [".TE"]


def markdown_to_roff(text):
    out, table, in_code = [], [], False
    for line in text.splitlines():
        if table and not line.startswith("|"):
            out += table_to_roff(table)
            table = []
        if line.startswith("```"):
            out.append(".EE" if in_code else ".P\n.EX")
            in_code = not in_code
        elif in_code:
            out.append(escape(line))
        elif line.startswith("|"):
            table.append(line)
        elif re.match(r"^##? ", line):
            out.append(".SH " + inline(line.lstrip("# ")).upper() if line.startswith("## ") else ".SH DESCRIPTION")
        elif line.startswith("#"):
            out.append(".SS " + inline(line.lstrip("# ")))
        elif re.match(r"^\s*(-|\d+\.) ", line):
            mark, rest = line.lstrip().split(" ", 1)
            out += [".IP \"" + ("\\(bu" if mark == "-" else mark) + "\" 3", inline(rest)]
        elif not line.strip():
            out.append(".P")
        else:
            out.append(inline(line.strip()))
    if table:
        out += table_to_roff(table)
    return out


def page_protocol(version):
    out = heading("mete-protocol", 7, version, "the datagrams of mete(1)")
    out += markdown_to_roff((ROOT / "proto-spec/protocol.md").read_text())
    return out + [".SH SEE ALSO", ".BR mete (1),", ".BR mete_client (3)"]


# ---- mete_client(3) ----

def comment_lines(comment):
    lines = [re.sub(r"^\s*\*? ?", "", line) for line in comment.strip().removeprefix("/*").removesuffix("*/").splitlines()]
    out = []
    for line in lines:
        out.append(inline(line.strip()) if line.strip() else ".P")
    return out


def page_client(version):
    text = (ROOT / "include/mete/client.h").read_text()
    top = re.match(r"/\*.*?\*/", text, re.S)
    out = heading("mete_client", 3, version, "ask a mete server from C")
    out += [".SH SYNOPSIS", ".B #include <mete/client.h>", ".P", "\\fIcc ... $(pkg\\-config \\-\\-cflags \\-\\-libs mete)\\fP",
            ".SH DESCRIPTION", *comment_lines(top[0])]
    body = text[top.end():].split("#pragma GCC visibility push(default)", 1)[1].split("\n", 1)[1]
    body = body.split("#pragma GCC visibility pop", 1)[0]
    out.append(".SH TYPES AND FUNCTIONS")
    for piece in re.split(r"\n\n+", body.strip()):
        match = re.match(r"\s*(/\*.*?\*/)\s*(.*)$", piece, re.S)
        comment, code = (match[1], match[2]) if match else ("", piece)
        if code.strip():
            out += [".P", ".EX", *[escape(line) for line in code.strip("\n").splitlines()], ".EE"]
        if comment:
            out += [".P", *comment_lines(comment)]
    return out + [".SH SEE ALSO", ".BR mete (1),", ".BR mete\\-protocol (7)"]


# ---- completions ----

def subcommands_of(text):
    """The second words that a command's usage names, as check, show and diff of config."""
    return sorted(set(re.findall(r"^(?:usage:|      ) mete \w+ ([a-z]+)\b", text, re.M)))


def completion_data(mete):
    data = []
    for name, what in commands_of(mete):
        text = help_of(mete, name, "--help")
        options = []
        for spelled, said in options_of(text):
            for word in re.findall(r"--[\w-]+", spelled):
                takes = re.search(re.escape(word) + r"[= ]([A-Z][\w:/]*|path=value)", spelled)
                options.append((word, takes[1] if takes else "", said))
        data.append((name, what, subcommands_of(text), options))
    return data


def bash(data):
    cases = []
    for name, _, subs, options in data:
        words = " ".join(subs + [word for word, _, _ in options] + ["--help"])
        cases.append(f'        {name}) words="{words}" ;;')
    files = "|".join(sorted({word for _, _, _, options in data for word, takes, _ in options if takes in ("FILE", "PATH")}))
    return f"""# bash completion for mete(1)
_mete()
{{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}} words=""
    if [ "$COMP_CWORD" = 1 ]; then
        COMPREPLY=($(compgen -W "{' '.join(name for name, *_ in data)}" -- "$current"))
        return
    fi
    case $previous in
        {files}) COMPREPLY=($(compgen -f -- "$current")); return ;;
    esac
    case ${{COMP_WORDS[1]}} in
{chr(10).join(cases)}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    [ "${{current:0:1}}" = - ] || COMPREPLY+=($(compgen -f -- "$current"))
}}
complete -o filenames -F _mete mete
"""


def brief(text):
    return re.sub(r"[\[\]:'\"\\`]", " ", text).strip()[:70]


def zsh(data):
    out = ["#compdef mete", "# zsh completion for mete(1)", "_mete() {", "  local -a commands", "  commands=("]
    out += [f"    '{name}:{brief(what)}'" for name, what, _, _ in data]
    out += ["  )", "  if (( CURRENT == 2 )); then", "    _describe command commands", "    return", "  fi", "  case $words[2] in"]
    for name, _, subs, options in data:
        specs = [f"'{word}{'=' if takes else ''}[{brief(said)}]{':' + brief(takes) + ':_files' if takes in ('FILE', 'PATH') else ':' + brief(takes) + ':' if takes else ''}'"
                 for word, takes, said in options]
        first = f"'2:what:({' '.join(subs)})'" if subs else "'*:argument:_files'"
        out.append(f"    {name}) _arguments " + " ".join(specs + ["'--help[tell more]'", first]) + " ;;")
    return "\n".join(out + ["  esac", "}", '_mete "$@"', ""])


def fish(data):
    out = ["# fish completion for mete(1)", "complete -c mete -n __fish_use_subcommand -f"]
    for name, what, subs, options in data:
        out.append(f"complete -c mete -n __fish_use_subcommand -f -a {name} -d '{brief(what)}'")
        for sub in subs:
            out.append(f"complete -c mete -n '__fish_seen_subcommand_from {name}' -f -a {sub}")
        for word, takes, said in options:
            needs = " -r" if takes else ""
            out.append(f"complete -c mete -n '__fish_seen_subcommand_from {name}' -l {word[2:]}{needs} -d '{brief(said)}'")
    return "\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mete", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    data = completion_data(arguments.mete)
    version = arguments.version
    files = {
        "mete.1": page_mete(arguments.mete, version), "mete.yaml.5": page_yaml(version),
        "mete-protocol.7": page_protocol(version), "mete_client.3": page_client(version),
        "mete.bash": [bash(data).rstrip("\n")], "_mete": [zsh(data).rstrip("\n")], "mete.fish": [fish(data).rstrip("\n")],
    }
    for name, lines in files.items():
        (arguments.out / name).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
