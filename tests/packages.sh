#!/bin/sh
# Installs the real programs that the tests drive, on Debian and its like, when run as root. Called by `make test`.
# Never fails: a test whose program is missing is skipped and says so.
set -u

# program, package that has it, what is tested with it
programs='
ssh        openssh-client   stock OpenSSH through irosh proxy
sshd       openssh-server   tunnels to a real SSH server
openssl    openssl          an SSH server with a password
ip         iproute2         everything in network namespaces
nft        nftables         relayed paths
tc         iproute2         everything in network namespaces
tcpdump    tcpdump          what hops see
turnserver coturn           meeting by STUN and TURN
iperf3     iperf3           throughput of tunnels
tmux       tmux             interactive shells
curl       curl             HTTP through tunnels and SOCKS
chromium   chromium         a browser through SOCKS
nc         netcat-openbsd   nc through SOCKS
redis-server redis-server   Redis through tunnels
redis-cli  redis-tools      Redis through tunnels
dig        dnsutils         DNS through tunnels
ping       iputils-ping     a VPN
vim        vim-tiny         full-screen programs in a shell
less       less             full-screen programs in a shell
git        git              git over irosh proxy
rsync      rsync            rsync to a host
sshfs      sshfs            irosh mount
lftp       lftp             SFTP by another client
psftp      putty-tools      SFTP by another client
ansible    ansible-core     ansible to a host
paramiko   python3-paramiko SFTP by another client
socat      socat            Unix sockets through tunnels
zsh        zsh              completion in zsh
fish       fish             completion in fish
mosh       mosh             benchmark of recovery after a cut, beside mosh
autossh    autossh          benchmark of recovery after a cut, beside autossh
cc         gcc              security keys made of software
evp.h      libssl-dev       security keys made of software
'

has() {
    case $1 in
        paramiko) /usr/bin/python3 -c 'import paramiko' 2>/dev/null ;;
        evp.h) [ -e /usr/include/openssl/evp.h ] ;;
        vim) command -v vim >/dev/null 2>&1 || command -v vi >/dev/null 2>&1 ;;
        *) PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 ;;
    esac
}

missing_packages() {
    echo "$programs" | while read -r program package _; do
        [ -n "$program" ] && ! has "$program" && echo "$package"
    done | sort -u
}

report_missing() {
    echo "$programs" | while read -r program package purpose; do
        [ -n "$program" ] && ! has "$program" && echo "tests: no $program (package $package): skipping $purpose"
    done
}

# Installing a server must not start it: the tests run their own.
policy=/usr/sbin/policy-rc.d
policy_is_ours=no
forbid_services() {
    [ -e "$policy" ] && return
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && policy_is_ours=yes
}
allow_services() {
    [ "$policy_is_ours" = yes ] && rm -f "$policy"
    policy_is_ours=no
}

install_missing() {
    packages=$(missing_packages | tr '\n' ' ')
    [ -z "$packages" ] && return
    if [ "$(id -u)" -ne 0 ] || ! has apt-get; then
        echo "tests: as root on Debian, this would be installed: $packages"
        return
    fi
    echo "tests: installing $packages"
    trap allow_services EXIT
    trap 'exit 0' INT TERM HUP
    forbid_services
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 - a list of names
    if ! { apt-get update -qq && apt-get install -qq -y --no-install-recommends $packages; } >"$log" 2>&1; then
        echo "tests: that failed:"
        tail -n 5 "$log"
    fi
    rm -f "$log"
}

install_missing
report_missing
if [ "$(id -u)" -ne 0 ]; then
    echo "tests: not root: skipping everything in network namespaces"
fi
exit 0
