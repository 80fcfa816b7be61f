# Reads NoCloud's network-config where it is JSON with a line for each value, and prints what the
# interface with that MAC address has to have, a line each:
#   mac 52:00:00:00:00:01
#   address 10.66.10.2/32
#   route 0.0.0.0/0 10.0.2.2        (without a gateway: what is reached directly)
#   nameserver 10.0.2.3
function value(line) {
    sub(/^[^:]*:[[:space:]]*/, "", line)
    gsub(/[",[:space:]]/, "", line)
    return line
}
function item(line) {
    gsub(/[",[:space:]]/, "", line)
    return line
}
/"macaddress":/ { mac = tolower(item(substr($0, index($0, ":") + 1))); print "mac", mac }
/"nameservers":/ { servers = 1 }
/"addresses": *\[/ { list = servers ? "nameserver" : "address"; next }
/"routes": *\[/ { list = "route"; next }
/\]/ { list = ""; next }
list == "route" && /"to":/ { to = value($0) }
list == "route" && /"via":/ { via = value($0) }
list == "route" && /}/ { if (to) print "route", to, via; to = via = "" }
list == "address" || list == "nameserver" { print list, item($0) }
