# Completion of emr-static-ip for bash 4.2 and later. It needs no other package.

_emr_static_ip()
{
    local line=${COMP_LINE:0:COMP_POINT} words current prefix="" answer candidate
    # COMP_WORDS is split at = and : as well. The program wants the words as they are typed.
    IFS=$' \t\n' read -r -a words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    current=${words[-1]}
    COMPREPLY=()
    answer=$("${1/#\~/$HOME}" __completeNoDesc "${words[@]:1}" 2> /dev/null) || return
    # After --flag= only the value is replaced, if bash takes = as the end of a word.
    if [[ $current == -*=* ]]; then
        [[ $COMP_WORDBREAKS == *=* ]] || prefix=${current%%=*}=
        current=${current#*=}
    fi
    # The last line is a colon and a number, in which 16 stands for directories.
    if ((${answer##*:} & 16)); then
        compopt -o filenames
        while IFS= read -r candidate; do
            COMPREPLY+=("$prefix$candidate")
        done < <(compgen -d -- "$current")
        return
    fi
    while IFS= read -r candidate; do
        [[ $candidate == :* ]] || COMPREPLY+=("$prefix$candidate")
    done <<< "$answer"
}

complete -F _emr_static_ip emr-static-ip
