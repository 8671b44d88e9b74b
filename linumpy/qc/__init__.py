"""Quality control: metrics of a corrected acquisition, its report, scores against a known truth."""
