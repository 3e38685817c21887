printf '>a\nACGTACGTAC\n>b\nACGTACGTAA\n>c\nACGAACGTCA\n>d\nACGAACCTCA\n' >x.fa
lathe tree learn --fasta x.fa --model k2p --newick
lathe tree dist --fasta x.fa --model hamming
printf '>a\nACGT\n>b\nATCG\n' >far.fa
lathe tree learn --fasta far.fa --strict
echo "exit $?"
lathe tree learn --fasta far.fa --newick
