#!/bin/bash
# node-status.sh gives the state of a node's static IP to a monitoring agent. A timer runs it, as root.
#
#   node-status.sh textfile DIRECTORY   writes DIRECTORY/emr_static_ip.prom for node_exporter's textfile collector; needs jq
#   node-status.sh log FILE             appends a line of JSON to FILE for the CloudWatch agent
#
# Both ask emr-static-ip status. A status that could not be found is reported like any other: monitoring must notice it. The exit code is 0 if the
# state was written, whatever it is.
set -u

program=${EMR_STATIC_IP_PROGRAM:-/usr/local/sbin/emr-static-ip}
most=1048576 # bytes of the log, before it is begun anew

fail() {
  printf '%s\n' "node-status.sh: $1" "what to do: $2" >&2
  exit 1
}

usage() {
  printf '%s\n' "usage: node-status.sh textfile DIRECTORY | log FILE" >&2
  exit 2
}

# find_status sets $status to the object that the program prints. Where there is none, it is one that says so.
find_status() {
  local code=0
  status=$(timeout -k 5 60 "$program" status --output json 2>/dev/null) || code=$?
  case $status in
  '{'*'}') ;;
  *) status='{"version":1,"tool_version":"unknown","tool":"unknown","exit_code":'$code',"error":{"exit_code":'$code',"meaning":"failed","message":"emr-static-ip status printed nothing","remedies":[],"suppressed":false},"verdict":"unknown","reasons":[],"pending":[],"kernel":[],"units":[],"notes":[]}' ;;
  esac
}

# replace FILE puts stdin in the place of a file, all of it or nothing.
replace() {
  local new
  new=$(mktemp -- "${1%/*}/.${1##*/}.XXXXXXXX") || return 1
  if cat >"$new" && chmod 0644 -- "$new" && mv -f -T -- "$new" "$1"; then return 0; fi
  rm -f -- "$new"
  return 1
}

# metrics turns the object into the text format of Prometheus.
metrics() {
  jq --raw-output '
    def escaped: tostring | gsub("\\\\"; "\\\\") | gsub("\n"; "\\n") | gsub("\""; "\\\"");
    def labels: to_entries | map("\(.key)=\"\(.value | escaped)\"") | join(",");
    def metric(name; help): "# HELP emr_static_ip_\(name) \(help)", "# TYPE emr_static_ip_\(name) gauge";
    def sample(name; value): "emr_static_ip_\(name) \(value)";
    def sample(name; set; value): "emr_static_ip_\(name){\(set | labels)} \(value)";
    . as $s
    | metric("info"; "What this node is, by emr-static-ip status."),
      sample("info"; {version: .tool_version, role: (.role // ""), cluster: (.cluster // ""), primary: (.primary // ""), static: (.static // "")}; 1),
      metric("exit_code"; "Exit code of emr-static-ip status: 0 if the node is in order."),
      sample("exit_code"; .exit_code),
      metric("verdict"; "1 for the verdict that holds."),
      (("in order", "settling", "drifted", "not configured", "withdrawn", "unknown") as $v | sample("verdict"; {verdict: $v}; if $s.verdict == $v then 1 else 0 end)),
      metric("findings"; "Parts of the node by their state, such as present and missing."),
      ([.kernel[], .units[], (.imds, .ec2, .ledger | select(. != null))] | group_by(.state)[] | sample("findings"; {state: .[0].state}; length)),
      metric("pending_addresses"; "Further addresses that an unfinished run may have been given."),
      sample("pending_addresses"; .pending | length),
      metric("failed_runs"; "Failed runs in a row under --on-error continue."),
      sample("failed_runs"; .last_error.count // 0),
      (select(.conntrack != null) | metric("conntrack_entries"; "Connections that the kernel tracks."), sample("conntrack_entries"; .conntrack.count),
        metric("conntrack_limit"; "How many connections the kernel can track."), sample("conntrack_limit"; .conntrack.max))'
}

[ "$#" = 2 ] || usage
case $1 in
textfile)
  command -v jq >/dev/null || fail "there is no jq" "install it (dnf install -y jq, or yum install -y jq)"
  [ -d "$2" ] || fail "there is no directory $2" "make it, and start node_exporter with --collector.textfile.directory=$2"
  find_status
  text=$(metrics <<<"$status") || fail "what emr-static-ip status printed is not understood" "look at it: emr-static-ip status -o json"
  replace "${2%/}/emr_static_ip.prom" <<<"$text" || fail "$2/emr_static_ip.prom cannot be written" "look at the message above"
  ;;
log)
  case $2 in */*) ;; *) set -- "$1" "./$2" ;; esac
  [ -d "${2%/*}" ] || fail "there is no directory ${2%/*}" "make it: mkdir -p ${2%/*}"
  find_status
  if [ -f "$2" ] && [ "$(stat -c %s -- "$2")" -gt "$most" ]; then
    mv -f -T -- "$2" "$2.1" || fail "$2 cannot be begun anew" "look at the message above"
  fi
  printf '%s\n' "$status" >>"$2" || fail "$2 cannot be written" "look at the message above"
  ;;
*) usage ;;
esac
