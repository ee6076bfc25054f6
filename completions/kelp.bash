# What bash calls for a TAB after `kelp`. The binary answers; here words are taken as kelp sees them: bash ends one at
# `:`, `=` and `@` as well, which are in the middle of image names and of flags with a value.
_kelp() {
    local line=${COMP_LINE:0:COMP_POINT} words=() blanks word i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        blanks=${line%%[![:space:]]*}
        line=${line#"$blanks"}
        word=${COMP_WORDS[i]}
        ((i == COMP_CWORD)) && word=$line
        line=${line#"$word"}
        if ((i == 0)) || [[ -n $blanks ]]; then
            words+=("$word")
        else
            words[${#words[@]} - 1]+=$word
        fi
    done
    word=${words[${#words[@]} - 1]}

    local space=true IFS=$'\013'
    compopt +o nospace 2>/dev/null && space=false
    COMPREPLY=($(COMPLETE=bash _CLAP_IFS="$IFS" _CLAP_COMPLETE_INDEX=$((${#words[@]} - 1)) \
        _CLAP_COMPLETE_COMP_TYPE="$COMP_TYPE" _CLAP_COMPLETE_SPACE="$space" kelp -- "${words[@]}")) || {
        unset COMPREPLY
        return
    }
    [[ $space == false && ${COMPREPLY-} =~ [=/:]$ ]] && compopt -o nospace

    # bash replaces only what stands behind the last of those.
    local last=$word mark
    for mark in : = @; do
        [[ $COMP_WORDBREAKS == *"$mark"* ]] && last=${last##*"$mark"}
    done
    COMPREPLY=("${COMPREPLY[@]#"${word%"$last"}"}")
}
if ((BASH_VERSINFO[0] > 4 || BASH_VERSINFO[0] == 4 && BASH_VERSINFO[1] >= 4)); then
    complete -o nospace -o bashdefault -o nosort -F _kelp kelp
else
    complete -o nospace -o bashdefault -F _kelp kelp
fi
