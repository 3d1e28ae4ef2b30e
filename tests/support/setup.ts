// Mesa's loader wants a runtime directory; containers often come without one.
process.env['XDG_RUNTIME_DIR'] ??= '/tmp';
