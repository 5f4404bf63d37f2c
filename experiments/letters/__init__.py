"""What the experiment on notMNIST is made of: nets and their training, and the pages of its report."""
