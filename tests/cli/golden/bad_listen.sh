lathe worker --listen nowhere
