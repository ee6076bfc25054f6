complete --keep-order --exclusive --command kelp --arguments "(COMPLETE=fish kelp -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
