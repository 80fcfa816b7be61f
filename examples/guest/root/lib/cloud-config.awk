# Reads the part of #cloud-config that the guest acts on and writes it into the current folder:
#
#   hostname        one line
#   users           a line each: name, password hash, "true" if locked, shell; tabs between
#   keys            a line each: user, ssh_authorized_keys entry; a tab between
#   runcmd          a shell script
#   final_message   text
#
# What it understands of YAML:
#   - mappings and lists by indentation, two levels deep, also lists at their key's indentation
#   - plain scalars on one line, 'single' and "double" quoted ones on one line
#   - literal and folded blocks (| and >, with - and +)
#   - flow lists of scalars on one line: [a, 'b', "c"]
#   - comments; CR LF as line ends
# Anchors, tags, flow mappings, several documents and scalars over several lines are not
# understood: such values are taken as text or left out. Nothing in a value is ever evaluated.

{
    sub(/\r$/, "")
    lines[++count] = $0
}

END {
    for (at = 1; at <= count; at++) {
        line = lines[at]
        if (line ~ /^[ \t]*(#|$)/) continue
        indent = depth(line)
        text = substr(line, indent + 1)
        if (text ~ /^-( |$)/) item()
        else if (indent == 0) top_level()
        else if (section == "users" && user > 0) user_field(text)
        else if (section == "runcmd" && command > 0 && !listed[command] && indent > item_indent)
            words[command, 1] = words[command, 1] " " scalar(text)
    }
    finish()
}

function depth(line) {
    match(line, /^ */)
    return RLENGTH
}

# Sets key and rest from "key: rest".
function entry(text) {
    if (!match(text, /^["']?[A-Za-z_][A-Za-z0-9_-]*["']?[ ]*:([ ]|$)/)) return 0
    key = substr(text, 1, RLENGTH)
    gsub(/["' :]/, "", key)
    rest = substr(text, RLENGTH + 1)
    return 1
}

function top_level() {
    section = ""
    if (!entry(text)) return
    if (key == "hostname" || key == "final_message") top[key] = value(rest, 0)
    else if (key == "users" || key == "runcmd") {
        section = key
        item_indent = -1
    }
}

function item() {
    # Lines below a list that is itself an item.
    if (section == "runcmd" && command > 0 && listed[command] && indent > item_indent) {
        add_word(substr(text, 2))
        return
    }
    # What a user has a list of: keys, groups.
    if (section == "users" && user > 0 && indent > item_indent) {
        if (user_key == "ssh_authorized_keys") add_key(scalar(substr(text, 2)))
        return
    }
    if (section == "" || (item_indent >= 0 && indent != item_indent)) return
    item_indent = indent
    sub(/^-[ ]*/, "", text)
    if (section == "users") {
        user++
        user_field(text)
    } else if (section == "runcmd") {
        command++
        if (text ~ /^\[/) {
            listed[command] = 1
            flow(text)
        } else if (text ~ /^-( |$)/) {
            listed[command] = 1
            add_word(substr(text, 2))
        } else words[command, 1] = value(text, indent)
    }
}

function user_field(text) {
    if (!entry(text)) return
    user_key = key
    users[user, key] = value(rest, indent)
}

function add_key(text) {
    gsub(/[\t\n]/, " ", text)
    if (text != "") keys[++key_count] = user "\t" text
}

function add_word(text) { words[command, ++listed_count[command]] = scalar(text) }

function flow(text,    quote, i, c, word) {
    quote = ""
    word = ""
    for (i = 2; i <= length(text); i++) {
        c = substr(text, i, 1)
        if (quote == "\"" && c == "\\") {
            word = word c substr(text, ++i, 1)
            continue
        }
        if (quote != "") {
            if (c == quote) quote = ""
        } else if (c == "\"" || c == "'") {
            if (word ~ /^[ ]*$/) quote = c
        } else if (c == "," || c == "]") {
            if (c == "," || word ~ /[^ ]/) add_word(word)
            word = ""
            if (c == "]") return
            continue
        }
        word = word c
    }
}

# A value that may be a block: then `at` moves to its last line.
function value(text, parent,    style, result, inner, next_indent) {
    if (text !~ /^[|>][-+0-9]*[ ]*(#.*)?$/) return scalar(text)
    style = substr(text, 1, 1)
    result = ""
    inner = -1
    while (at < count) {
        if (lines[at + 1] !~ /^[ \t]*$/) {
            next_indent = depth(lines[at + 1])
            if (inner < 0) inner = next_indent
            if (next_indent <= parent || next_indent < inner) break
        }
        at++
        result = result (result == "" ? "" : (style == ">" ? " " : "\n")) substr(lines[at], inner + 1)
    }
    sub(/[ \n]+$/, "", result)
    return result
}

function scalar(text,    result) {
    gsub(/^[ \t]+|[ \t]+$/, "", text)
    if (text ~ /^'/) {
        match(text, /^'([^']|'')*'/)
        if (RLENGTH < 2) return ""
        result = substr(text, 2, RLENGTH - 2)
        gsub(/''/, "'", result)
        return result
    }
    if (text ~ /^"/) return unescaped(text)
    sub(/^#.*|[ \t]+#.*$/, "", text)
    return text
}

function unescaped(text,    i, c, result) {
    result = ""
    for (i = 2; i <= length(text); i++) {
        c = substr(text, i, 1)
        if (c == "\"") break
        if (c == "\\") {
            c = substr(text, ++i, 1)
            if (c == "n") c = "\n"
            else if (c == "t") c = "\t"
            else if (c == "r") c = "\r"
            else if (c == "e") c = "\033"
        }
        result = result c
    }
    return result
}

# For the shell. Not by gsub: awks differ in what a backslash in its replacement means.
function quoted(word,    parts, n, i, result) {
    n = split(word, parts, "'")
    result = parts[1]
    for (i = 2; i <= n; i++) result = result "'\\''" parts[i]
    return "'" result "'"
}

function field(name,    text) {
    text = users[user, name]
    gsub(/[\t\n]/, "", text)
    return text == "" ? "-" : text
}

function finish(    last, n, i, line, parts) {
    if (top["hostname"] != "") print top["hostname"] >"hostname"
    if (top["final_message"] != "") print top["final_message"] >"final_message"
    last = user
    for (user = 1; user <= last; user++) {
        # As cloud-init does, a user is locked unless the data says otherwise.
        locked = tolower(field("lock_passwd")) ~ /^(false|no|off)$/ ? "false" : "true"
        for (n = 1; n <= key_count; n++) {
            split(keys[n], parts, "\t")
            if (parts[1] == user) print field("name") "\t" parts[2] >"keys"
        }
        print field("name") "\t" field("passwd") "\t" locked "\t" field("shell") >"users"
    }
    for (n = 1; n <= command; n++) {
        line = ""
        if (listed[n]) {
            for (i = 1; i <= listed_count[n]; i++) line = line (i > 1 ? " " : "") quoted(words[n, i])
            print line >"runcmd"
        } else {
            # Each in a shell of its own: a syntax error or an exit ends only itself.
            print "sh -c " quoted(words[n, 1]) >"runcmd"
        }
    }
}
