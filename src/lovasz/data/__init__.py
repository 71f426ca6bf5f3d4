"""What goes with the losses and is read from a data set: labels, class weights, samplers."""
