#!/bin/bash
# What the SSM document does on a node. Systems Manager runs it as root, with the document's parameters in the places of the names in double
# braces; their patterns admit nothing that a shell could take for more than text. The exit code is that of emr-static-ip, or of bootstrap.sh.
set -u
action='{{ Action }}'
list='{{ Arguments }}'
base='{{ Base }}'
program=/usr/local/sbin/emr-static-ip
read -r -a arguments <<<"$list"

# fail CODE WHAT REMEDY ends the command.
fail() {
  printf '%s\n' "emr-static-ip operations: failed (exit code $1): $2" "what to do: $3" >&2
  exit "$1"
}

# bootstrap ARGUMENTS... fetches the published bootstrap.sh and runs it: it installs the published program where that is not there, and runs it.
bootstrap() {
  local scratch status=0
  scratch=$(mktemp -d) || fail 1 "no temporary directory could be made" "look at the disk: df -h /tmp"
  export AWS_DEFAULT_REGION="${AWS_SSM_REGION_NAME:-${AWS_DEFAULT_REGION:-}}"
  [ -n "$AWS_DEFAULT_REGION" ] || unset AWS_DEFAULT_REGION
  if ! timeout -k 5 120 aws s3 cp --only-show-errors "$base/bootstrap.sh" "$scratch/bootstrap.sh"; then
    rm -rf -- "$scratch"
    fail 1 "$base/bootstrap.sh cannot be fetched" "publish there (publish.sh), and allow s3:GetObject on it to the role of the cluster's instance profile"
  fi
  bash "$scratch/bootstrap.sh" "$base" "$@" || status=$?
  rm -rf -- "$scratch"
  return "$status"
}

case $action in
install) bootstrap version ;;
run) bootstrap apply ${arguments[@]+"${arguments[@]}"} ;; # whatever the arguments are: no other command
upgrade)
  [ -x "$program" ] || fail 2 "there is no $program to upgrade" "use the action run, with the addresses"
  bootstrap # without arguments: as the last run
  ;;
check | doctor)
  [ -x "$program" ] || fail 11 "there is no $program: this node has no static IP" "use the action run, with the addresses"
  if [ "$action" = check ]; then
    "$program" status --output json --wait 1m
  else
    "$program" doctor --output json ${arguments[@]+"${arguments[@]}"}
  fi
  ;;
*) fail 2 "there is no action $action" "use install, run, upgrade, check or doctor" ;;
esac
