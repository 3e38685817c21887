mkdir d; lathe run d hello
