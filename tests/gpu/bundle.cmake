# cmake -DPROGRAM=FILE -DBUNDLE=FOLDER -P bundle.cmake: copies a program and its shared libraries into a folder.
file(GET_RUNTIME_DEPENDENCIES EXECUTABLES ${PROGRAM} RESOLVED_DEPENDENCIES_VAR libraries
     PRE_EXCLUDE_REGEXES "^lib(c|m|dl|rt|pthread|stdc\\+\\+|gcc_s)\\.so" "^ld-linux")
file(REMOVE_RECURSE ${BUNDLE})
file(COPY ${PROGRAM} ${libraries} DESTINATION ${BUNDLE} FOLLOW_SYMLINK_CHAIN)
