# Sourced by what runs programs for Windows here: makes Wine ready, as root on a Debian 12. Its directory is kept in
# ~/.cache/p2pdbg-windows.
#
#   prepare_wine DIR [PACKAGE…]
#
# DIR is where the programs lie, which gets the one DLL that every Windows has and Wine 8 has not. The packages are
# installed beside Wine's and mingw's own.
prepare_wine() {
    local directory=$1 package missing=()
    shift
    for package in wine64 gcc-mingw-w64-x86-64-posix "$@"; do
        dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || return
    fi
    # Debian's package has it on no path.
    PATH=$PATH:/usr/lib/wine
    mkdir -p "$directory"
    x86_64-w64-mingw32-gcc-posix -shared -O2 -o "$directory/bcryptprimitives.dll" \
        "$(dirname "${BASH_SOURCE[0]}")/prng.c" -ladvapi32 || return
    export WINEPREFIX=${XDG_CACHE_HOME:-$HOME/.cache}/p2pdbg-windows/prefix WINEDEBUG=-all WINEDLLOVERRIDES=mscoree,mshtml=
    if [ ! -e "$WINEPREFIX/complete" ]; then
        mkdir -p "$WINEPREFIX"
        wine64 wineboot --init >/dev/null 2>&1 || return
        wine64 cmd /c "exit 0" || return
        touch "$WINEPREFIX/complete"
    fi
}
