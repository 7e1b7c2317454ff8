"""What commands show of the cluster, of jobs and of repositories."""
