# What trials of whole programs share: sourced by scripts/try-release and scripts/try-versions, which set $work, a directory of
# their own, and call stop when they end.

children=()

# Ends what this script has started, by number.
stop() {
    local child
    for child in "${children[@]-}"; do [ -z "$child" ] || kill "$child" 2>/dev/null; done
    wait 2>/dev/null
    children=()
}

# Waits up to 30 s for a line in a file, and prints what follows it there: await FILE EXPRESSION.
await() {
    local _
    for _ in $(seq 300); do
        if grep -qE -- "$2" "$1" 2>/dev/null; then grep -oE -m1 -- "$2" "$1"; return 0; fi
        sleep 0.1
    done
    echo "no $2 in $1:" >&2
    cat "$1" >&2
    return 1
}

# A whole session: session RENDEZVOUS LISTEN CONNECT, each a command before p2pdbg's arguments, as a word list in a variable.
# The commands find a writable /tmp, and $state below it.
session() {
    local server=$1 listen=$2 connect=$3 directory url code port source status
    directory=$(mktemp -d "$work/session.XXXXXX")
    port=$((20000 + RANDOM % 10000))
    # shellcheck disable=SC2086
    $server --bind 127.0.0.1:0 --alt-port 0 --public 127.0.0.1 --state /tmp/rendezvous-$port \
        >"$directory/url" 2>"$directory/server" &
    children+=($!)
    url=$(await "$directory/url" 'p2pdbg://.*') || return 1
    head -c 1048576 /dev/urandom >"$directory/bytes"
    # shellcheck disable=SC2086
    P2PDBG_RENDEZVOUS=$url P2PDBG_STATE=/tmp/listen-$port \
        $listen listen -L "$port:localhost:$((port + 1))" >"$directory/code" 2>"$directory/listen" &
    children+=($!)
    code=$(await "$directory/code" '[0-9]{6}(-[a-z]+)+') || { cat "$directory/listen"; return 1; }
    python3 -c '
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
connection, _ = server.accept()
while data := connection.recv(65536): connection.sendall(data)
' $((port + 1)) &
    source=$!
    children+=($source)
    # shellcheck disable=SC2086
    P2PDBG_RENDEZVOUS=${url/:\/\/*@/:\/\/} P2PDBG_STATE=/tmp/connect-$port P2PDBG_CODE=$code \
        $connect connect >"$directory/connect" 2>&1 &
    children+=($!)
    await "$directory/connect" 'forward: ' >/dev/null || return 1
    python3 -c '
import socket, sys, threading
sent = open(sys.argv[2], "rb").read()
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 30)
def send():
    connection.sendall(sent)
    connection.shutdown(socket.SHUT_WR)
threading.Thread(target=send).start()
received = b""
while data := connection.recv(65536): received += data
sys.exit(received != sent)
' "$port" "$directory/bytes" || { echo "the bytes did not come back"; cat "$directory"/{listen,connect}; return 1; }
    stop
    rm -rf "/tmp/rendezvous-$port" "/tmp/listen-$port" "/tmp/connect-$port"
}
