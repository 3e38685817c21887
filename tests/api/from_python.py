"""The C API through ctypes: load, tokenize, generate with a callback that stops, errors."""
import ctypes
import sys


class Error(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int), ("text", ctypes.c_char * 508)]


TextFn = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.POINTER(ctypes.c_char), ctypes.c_size_t)


def main(library, path):
    lathe = ctypes.CDLL(library)
    lathe.lathe_version.restype = ctypes.c_char_p
    lathe.lathe_model_vocab.restype = ctypes.c_void_p
    assert lathe.lathe_version().count(b".") == 2
    err = Error()
    model, session = ctypes.c_void_p(), ctypes.c_void_p()

    assert lathe.lathe_model_load(b"missing.gguf", None, ctypes.byref(model), ctypes.byref(err)) == 3
    assert err.text == b"missing.gguf: No such file or directory" and not model

    assert lathe.lathe_model_load(path.encode(), None, ctypes.byref(model), ctypes.byref(err)) == 0, err.text
    vocab = ctypes.c_void_p(lathe.lathe_model_vocab(model))
    ids, n_ids = ctypes.POINTER(ctypes.c_int32)(), ctypes.c_size_t()
    text = b"Once upon a time"
    assert lathe.lathe_tokenize(vocab, text, ctypes.c_size_t(len(text)), -1, False, ctypes.byref(ids),
                                ctypes.byref(n_ids), ctypes.byref(err)) == 0, err.text
    assert ids[:n_ids.value] == [1, 403, 407, 261, 378]
    lathe.lathe_free(ids)

    got = []

    @TextFn
    def take(_user, piece, n_bytes):
        got.append(piece[:n_bytes])
        return len(got) < 3  # false stops

    assert lathe.lathe_session_new(model, None, ctypes.byref(session), ctypes.byref(err)) == 0, err.text
    lathe.lathe_session_set_n_predict(session, 20)
    assert lathe.lathe_session_generate(session, text, take, None, ctypes.byref(err)) == 0, err.text
    assert len(got) == 3
    lathe.lathe_session_free(session)
    lathe.lathe_model_free(model)


main(sys.argv[1], sys.argv[2])
