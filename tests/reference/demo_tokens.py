"""Tokens and vocabulary of models/: python tests/reference/demo_tokens.py STORIES.txt OUT_FOLDER
Needs the packages tokenizers, gguf and numpy. The last 100 stories are held out."""
import sys
import json
import struct

import numpy as np
from tokenizers import Tokenizer, models, trainers, pre_tokenizers
import gguf
raw=open(sys.argv[1],encoding='utf-8',errors='replace').read()
out=sys.argv[2]+'/'
sep='<|endoftext|>'
docs=[d.strip() for d in raw.split(sep)] if sep in raw else [d.strip() for d in raw.split('\n\n\n')]
docs=[d for d in docs if d]
tok=Tokenizer(models.BPE()); tok.pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False,use_regex=True)
V=2048
tr=trainers.BpeTrainer(vocab_size=V-1,initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),special_tokens=[])
train,held=docs[:-100],docs[-100:]
tok.train_from_iterator(train,tr)
j=json.loads(tok.to_str())['model']
vocab=sorted(j['vocab'],key=j['vocab'].get); merges=[m if isinstance(m,str) else ' '.join(m) for m in j['merges']]
while len(vocab)<V-1: vocab.append(f'<unused{len(vocab)}>')
vocab.append(sep); eot=V-1
assert len(vocab)==V
w=gguf.GGUFWriter(out+'tok.gguf','llama')
w.add_tokenizer_model('gpt2'); w.add_tokenizer_pre('gpt-2'); w.add_token_list(vocab); w.add_token_types([1]*(V-1)+[3]); w.add_token_merges(merges)
w.add_bos_token_id(eot); w.add_eos_token_id(eot); w.add_add_bos_token(True); w.add_add_space_prefix(False)
w.write_header_to_file(); w.write_kv_data_to_file(); w.close()
def enc(ds):
    ids=[]
    for d in ds: ids.append(eot); ids+=tok.encode(d).ids
    ids.append(eot); return np.array(ids,dtype='<u2')
def ltok(p,a):
    h=b'LTOK'+struct.pack('<IIIQ',1,2,V,len(a)); h+=bytes(256-len(h))
    open(p,'wb').write(h+a.tobytes())
a,b=enc(train),enc(held); ltok(out+'train.ltok',a); ltok(out+'held-out.ltok',b)
print(len(a),len(b),sum(len(d.encode()) for d in held)/len(b))
open(out+'held-out.txt','w').write(sep.join(held))
