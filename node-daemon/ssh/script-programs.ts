/**
 * What runs in the guest to start, watch and end the setup script. POSIX shell and the utilities that Linux
 * (coreutils or busybox) and macOS share; no single quotes and no backslashes (see guest-command.ts).
 *
 * In the login user's `$HOME/.shoes-vz/setup`, mode 0700:
 *
 *     claim        who may run the script: pid, start time and boot id of the supervisor
 *     pid          pid and start time of the script, which leads a session and process group of its own
 *     alive        named pipe that the supervisor holds open: its readers see the end when it is gone
 *     pipe         named pipe that the script writes to
 *     out.<n>      the last two pieces of its output, fewer than 640 KiB each
 *     drained      all of the output was read
 *     exit         exit code, as a shell has it
 *
 * The claim is made with link(2): it appears whole or not at all, and only once, whatever is retried or runs
 * at the same time. Nothing of the script is ever run before it. A directory without a claim is the trace of
 * an upload that was begun; it is harmless and may be begun anew.
 *
 * Limits: a guest whose logind kills the processes of a session that has ended (KillUserProcesses=yes, which
 * no major distribution ships) kills the script with it. While an interpreter other than a shell runs, its
 * children may inherit the script as descriptor 9; on macOS it lies in a file for its first 30 seconds.
 */

const COMMON = `
d=$HOME/.shoes-vz/setup

# Prints the start time of a process. Fails where there is none, or only its remains.
start_time() {
  if [ -r /proc/self/stat ]; then
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # The name, in parentheses, may hold anything.
    set -- \${stat##*) }
    case $1 in Z | X | "") return 1 ;; esac
    shift 19
    echo "$1"
  else
    stat=$(ps -o stat=,lstart= -p "$1" 2>/dev/null) || return 1
    set -- $stat
    case $1 in Z* | "") return 1 ;; esac
    shift
    echo "$*" | tr " " _
  fi
}

boot_id() {
  cat /proc/sys/kernel/random/boot_id 2>/dev/null || sysctl -n kern.bootsessionuuid 2>/dev/null || echo none
}
`;

const DETACHED = `
# Becomes the program given, as the leader of a session of its own.
detached() {
  if command -v setsid >/dev/null; then exec setsid "$@"; fi
  if command -v perl >/dev/null; then
    exec perl -e "use POSIX; POSIX::setsid(); exec @ARGV; exit 127" "$@"
  fi
  exec "$@"
}
# Without either, job control at least gives it a process group.
command -v setsid >/dev/null || command -v perl >/dev/null || set -m 2>/dev/null
`;

/**
 * Reads the script from its input. Arguments: the supervisor's program, the script's length, its form, and its
 * interpreter. Prints started, alreadyStarted, incomplete or failed.
 */
export const START = `${COMMON}${DETACHED}
mask=$(umask)
umask 077
mkdir -p "$d" || exit 73
if [ -e "$d/claim" ]; then echo alreadyStarted; exit 0; fi
# In memory where that can be had: even root finds nothing of it on the disk later.
top=$d
if [ -d /dev/shm ] && [ -w /dev/shm ]; then top=/dev/shm; fi
up=$(mktemp -d "$top/shoes-vz.XXXXXX") || exit 73
discard() { rm -rf "$up"; }
trap discard EXIT
trap "exit 1" HUP INT TERM PIPE
cat > "$up/script"
if [ $(($(wc -c < "$up/script"))) -ne "$2" ]; then echo incomplete; exit 0; fi
supervisor=$1
shift 2
# Ends when all who have descriptor 3 have closed it: the supervisor does when the script runs.
reply=$(
  exec 3>&1 >/dev/null 2>/dev/null </dev/null
  (detached /bin/sh -c "$supervisor" shoes-vz-setup "$up" "$mask" "$@") &
)
# From here on the supervisor sees to it.
[ -z "$reply" ] || trap - EXIT
echo "\${reply:-failed}"
`;

/**
 * Outlives the connection. Arguments: directory with the script, umask for it, form, interpreter. Tells
 * descriptor 3 when the script runs.
 */
export const SUPERVISE = `${COMMON}${DETACHED}
umask 077
up=$1 mask=$2 form=$3
shift 3

record() { echo "$1" > "$d/exit.new" && mv -f "$d/exit.new" "$d/exit"; }
refuse() {
  echo "shoes-vz: $2" > "$d/out.00000000"
  record "$1"
  rm -rf "$up"
  echo started >&3
  exit 0
}

# Keeps the end of what comes in. dd hands on what it reads at once, and reads no more than it is told.
keep_end() {
  n=0
  while :; do
    piece=$d/out.$(printf %08d "$n")
    : > "$piece"
    while [ $(($(wc -c < "$piece"))) -lt 131072 ]; do
      said=$(LC_ALL=C dd bs=16384 count=32 2>&1 >> "$piece") || { cat >/dev/null; return; }
      # It says, among other things: 4+28 records in
      reads=\${said%% records in*}
      reads=\${reads##*[!0-9+]}
      [ $((\${reads%+*} + \${reads#*+})) -eq 32 ] || return
    done
    n=$((n + 1))
    rm -f "$d/out.$(printf %08d $((n - 2)))"
  done
}

[ -r "$up/script" ] || exit 0
exec 9< "$up/script"
echo "$$ $(start_time $$) $(boot_id)" > "$d/claim.$$"
ln "$d/claim.$$" "$d/claim" 2>/dev/null
lost=$?
rm -f "$d/claim.$$"
if [ "$lost" -ne 0 ]; then
  rm -rf "$up"
  if [ -e "$d/claim" ]; then echo alreadyStarted >&3; fi
  exit 0
fi

# The open file is all that is left of the script, but where an interpreter could not open it a second time.
script=/dev/fd/9
[ -e "$script" ] || script=/proc/self/fd/9
if [ ! -e "$script" ]; then script=$up/script; fi
if [ "$form" = foreign ] && [ "$(uname -s)" = Darwin ]; then script=$up/script; fi
[ "$script" = "$up/script" ] || rm -rf "$up"

if [ $# -eq 0 ]; then
  if command -v bash >/dev/null; then set -- bash; else set -- sh; fi
fi
case $1 in
*/*)
  case $1 in *[![:print:]]*) hint=" (the line ends as in Windows)" ;; *) hint= ;; esac
  [ -e "$1" ] || refuse 127 "the interpreter of the setup script was not found: $1$hint"
  [ -x "$1" ] || refuse 126 "the interpreter of the setup script cannot be executed: $1"
  ;;
esac

mkfifo "$d/alive" "$d/pipe" || refuse 126 "no named pipe can be made in $d"
exec 8<> "$d/alive"
(
  exec 3>&- 8>&- 9<&- < "$d/pipe" >/dev/null 2>&1
  keep_end
  : > "$d/drained"
) &
(
  exec 3>&- 8>&- </dev/null > "$d/pipe" 2>&1
  if [ "$script" = "$up/script" ]; then exec 9<&-; fi
  cd "$HOME" || exit 126
  umask "$mask"
  detached "$@" "$script"
) &
pid=$!
exec 9<&-
echo "$pid $(start_time "$pid")" > "$d/pid.new"
mv -f "$d/pid.new" "$d/pid"
if [ "$script" = "$up/script" ]; then
  (
    exec 3>&- 8>&- >/dev/null 2>&1
    sleep 30
    rm -rf "$up"
  ) &
fi
echo started >&3
exec 3>&-

wait "$pid"
code=$?
rm -rf "$up"
# The last words are on their way, unless a child that lives on holds the pipe open.
i=0
while [ ! -e "$d/drained" ] && [ "$i" -lt 25 ]; do
  sleep 0.02 2>/dev/null || { sleep 1; i=25; }
  i=$((i + 1))
done
record "$code"
`;

const STATE = `${COMMON}
supervised() { [ -n "$1" ] && [ "$(start_time "$1")" = "$2" ]; }

# Prints absent, incomplete, running with the pid, exited with the code, or vanished.
state() {
  if [ ! -d "$d" ]; then echo absent; return; fi
  if [ ! -e "$d/claim" ]; then echo incomplete; return; fi
  if read -r code < "$d/exit"; then echo "exited $code"; return; fi
  read -r sup sup_start boot < "$d/claim"
  if [ "$boot" = "$(boot_id)" ]; then
    i=0
    # The moment between claim and start.
    while [ ! -e "$d/pid" ] && [ ! -e "$d/exit" ] && [ "$i" -lt 100 ] && supervised "$sup" "$sup_start"; do
      sleep 0.05 || sleep 1
      i=$((i + 1))
    done
    pid="" start=""
    read -r pid start < "$d/pid"
    if supervised "$sup" "$sup_start" || supervised "$pid" "$start"; then
      if read -r code < "$d/exit"; then echo "exited $code"; else echo "running \${pid:-$sup}"; fi
      return
    fi
  fi
  # It may have ended while this looked.
  if read -r code < "$d/exit"; then echo "exited $code"; else echo vanished; fi
}
`;

/** Prints the state. Argument: how many seconds to wait for it to be another one than running; 0: not at all. */
export const OBSERVE = `${STATE}
exec 2>/dev/null
now=$(state)
case $now in
running*)
  if [ "$1" -gt 0 ]; then
    read -r sup sup_start boot < "$d/claim"
    if [ -p "$d/alive" ] && supervised "$sup" "$sup_start"; then
      cat "$d/alive" >/dev/null &
      reader=$!
      (
        # Opening the pipe hangs where the supervisor ended just before.
        sleep 1
        if supervised "$sup" "$sup_start"; then sleep "$1"; fi
        kill "$reader"
      ) </dev/null >/dev/null &
      guard=$!
      wait "$reader"
      kill "$guard"
    else
      i=0
      while [ "$i" -lt "$1" ]; do
        case $(state) in running*) sleep 1 ;; *) break ;; esac
        i=$((i + 1))
      done
    fi
    now=$(state)
  fi
  ;;
esac
echo "$now"
`;

/** Asks the script's process group to end, and ends it. Argument: seconds in between. Prints the state. */
export const KILL = `${STATE}
exec 2>/dev/null
send() { kill -s "$1" -- "-$pid" || kill -s "$1" "$pid"; }
over() {
  i=0
  while [ "$i" -lt "$1" ]; do
    case $(state) in running*) ;; *) return 0 ;; esac
    j=0
    while [ "$j" -lt 10 ]; do
      [ ! -e "$d/exit" ] || return 0
      sleep 0.1 || { sleep 1; j=10; }
      j=$((j + 1))
    done
    i=$((i + 1))
  done
  return 1
}
case $(state) in
running*)
  if read -r pid start < "$d/pid" && supervised "$pid" "$start"; then
    send TERM
    over "$1" || { send KILL; over 5; }
  else
    over 1
  fi
  ;;
esac
state
`;

/** Prints the end of the output. Argument: bytes. */
export const TAIL = `
d=$HOME/.shoes-vz/setup
bytes=$1
i=0
while [ "$i" -lt 5 ]; do
  set -- "$d"/out.*
  while [ $# -gt 2 ]; do shift; done
  for newest in "$@"; do :; done
  # Gone already where much is written at this moment.
  if [ -e "$newest" ]; then break; fi
  i=$((i + 1))
done
cat "$@" 2>/dev/null | tail -c "$bytes"
`;
