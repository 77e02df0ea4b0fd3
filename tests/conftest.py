import os

# Small models gain nothing from threads, and lose much where cores are shared. This
# also reaches the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
